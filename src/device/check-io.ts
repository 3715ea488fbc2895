import { assert } from '../protocol/errors.js';
import { REGION_SIZE_BYTES, isAligned, isInside } from '../protocol/geometry.js';
import { checksumsBytes } from '../protocol/region-checksums.js';
import { CAPABILITY_OF, type BlockDevice, type BlockIo } from './block-device.js';

/**
 * Asserts what BlockIo promises: whoever starts a request has checked what came from outside, so a violation is a bug
 * of ours. Every device calls this first in start().
 */
export function assertStartable(device: BlockDevice, io: BlockIo): void {
  const violation = violationOf(device, io);
  // The message is put together only now: this is asked several times for every request.
  if (violation !== null) assert(false, `${device.name}: ${io.op} ${violation}`);
}

function violationOf(device: BlockDevice, io: BlockIo): string | null {
  const { op, offsetBytes, lengthBytes, buffer, bufferAt } = io;
  if (!device.can[CAPABILITY_OF[op]]) return 'is not one of its operations';
  if (op === 'flush') return offsetBytes === 0 && lengthBytes === 0 ? null : 'with a range';
  if (!isInside(io, device.mediaSizeBytes)) return 'outside the device';
  if (op === 'checksum') {
    if (!isWholeRegions(device, io)) return 'of parts of regions';
  } else if (!isAligned(io, device.sectorSizeBytes)) return 'of parts of sectors';
  if (op === 'trim' || op === 'write-zeroes') return null;
  if (buffer === null) return 'without a buffer';
  const neededBytes = op === 'checksum' ? checksumsBytes(lengthBytes) : lengthBytes;
  return bufferAt >= 0 && bufferAt + neededBytes <= buffer.length ? null : 'beyond the end of its buffer';
}

function isWholeRegions(device: BlockDevice, { offsetBytes, lengthBytes }: BlockIo): boolean {
  const isWhole =
    lengthBytes % REGION_SIZE_BYTES === 0 || offsetBytes + lengthBytes === device.mediaSizeBytes;
  return offsetBytes % REGION_SIZE_BYTES === 0 && isWhole;
}
