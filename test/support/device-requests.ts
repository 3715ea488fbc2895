import type { BlockDevice, BlockIo, BlockOp, DeviceError } from '../../src/device/block-device.js';
import type { ByteRange } from '../../src/protocol/geometry.js';
import { checksumsBytes } from '../../src/protocol/region-checksums.js';

/** Starts one request and resolves with its outcome: null, or the error. */
export function start(
  device: BlockDevice,
  op: BlockOp,
  { offsetBytes, lengthBytes }: ByteRange,
  buffer: Buffer | null = null,
  bufferAt = 0,
): Promise<DeviceError | null> {
  return new Promise((resolve) => {
    device.start({ op, offsetBytes, lengthBytes, buffer, bufferAt, done: resolve });
  });
}

async function succeed(outcome: Promise<DeviceError | null>): Promise<void> {
  const error = await outcome;
  if (error !== null) throw error;
}

/** The bytes of a range, in memory of their own. Throws the device's error. */
export async function readBytes(device: BlockDevice, range: ByteRange): Promise<Buffer> {
  const buffer = Buffer.alloc(range.lengthBytes, 0xee);
  await succeed(start(device, 'read', range, buffer));
  return buffer;
}

/** Writes all of `data`. Throws the device's error. */
export async function writeBytes(device: BlockDevice, offsetBytes: number, data: Buffer): Promise<void> {
  await succeed(start(device, 'write', { offsetBytes, lengthBytes: data.length }, data));
}

export async function flush(device: BlockDevice): Promise<void> {
  await succeed(start(device, 'flush', { offsetBytes: 0, lengthBytes: 0 }));
}

/** Trims or zeroes a range. Throws the device's error. */
export async function clear(
  device: BlockDevice,
  op: 'trim' | 'write-zeroes',
  range: ByteRange,
): Promise<void> {
  await succeed(start(device, op, range));
}

/** The checksums of the regions of a range. Throws the device's error. */
export async function checksumsOf(device: BlockDevice, range: ByteRange): Promise<Buffer> {
  const sums = Buffer.alloc(checksumsBytes(range.lengthBytes));
  await succeed(start(device, 'checksum', range, sums));
  return sums;
}

/** The whole medium. */
export const wholeOf = (device: BlockDevice): ByteRange => ({
  offsetBytes: 0,
  lengthBytes: device.mediaSizeBytes,
});

/** A request written out, for tests that start it themselves. */
export const request = (fields: Partial<BlockIo> & Pick<BlockIo, 'op'>): BlockIo => ({
  offsetBytes: 0,
  lengthBytes: 0,
  buffer: null,
  bufferAt: 0,
  done: () => undefined,
  ...fields,
});

/** Bytes that differ from sector to sector and from seed to seed, and are never zero. */
export function pattern(lengthBytes: number, seed: number): Buffer {
  const data = Buffer.alloc(lengthBytes);
  for (let at = 0; at < lengthBytes; at++)
    data[at] = 1 + ((Math.floor(at / 512) * 31 + at * 7 + seed * 89) % 255);
  return data;
}
