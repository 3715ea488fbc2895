import { assert } from '../protocol/errors.js';
import { REGION_SIZE_BYTES, isAligned, isInside } from '../protocol/geometry.js';
import { checksumsBytes } from '../protocol/region-checksums.js';
import type { BlockDevice, BlockIo, BlockOp, Capabilities } from './block-device.js';

const CAPABILITY_OF: Readonly<Record<BlockOp, keyof Capabilities>> = {
  read: 'read',
  write: 'write',
  flush: 'flush',
  trim: 'trim',
  'write-zeroes': 'writeZeroes',
  checksum: 'checksum',
};

/**
 * Asserts what BlockIo promises: whoever starts a request has checked what came from outside, so a violation is a bug
 * of ours. Every device calls this first in start().
 */
export function assertStartable(device: BlockDevice, io: BlockIo): void {
  const { op, lengthBytes } = io;
  assert(device.can[CAPABILITY_OF[op]], `${device.name}: it can't ${op}`);
  if (op === 'flush') {
    assert(io.offsetBytes === 0 && lengthBytes === 0, `${device.name}: a flush has no range`);
    return;
  }
  assert(isInside(io, device.mediaSizeBytes), `${device.name}: ${op} outside the device`);
  if (op === 'checksum') assertWholeRegions(device, io);
  else assert(isAligned(io, device.sectorSizeBytes), `${device.name}: ${op} of parts of sectors`);
  const neededBytes = op === 'checksum' ? checksumsBytes(lengthBytes) : lengthBytes;
  if (op === 'read' || op === 'write' || op === 'checksum') {
    const { buffer, bufferAt } = io;
    assert(buffer !== null, `${device.name}: ${op} without a buffer`);
    const fits = bufferAt >= 0 && bufferAt + neededBytes <= buffer.length;
    assert(fits, `${device.name}: ${op} beyond the end of its buffer`);
  }
}

function assertWholeRegions(device: BlockDevice, io: BlockIo): void {
  const isWhole =
    io.lengthBytes % REGION_SIZE_BYTES === 0 || io.offsetBytes + io.lengthBytes === device.mediaSizeBytes;
  assert(io.offsetBytes % REGION_SIZE_BYTES === 0 && isWhole, `${device.name}: checksum of parts of regions`);
}
