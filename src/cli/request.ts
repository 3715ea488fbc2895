import type { BlockDevice, BlockOp } from '../device/block-device.js';
import type { ByteRange } from '../protocol/geometry.js';

/** One request as a promise, for everything that isn't in a hurry. `buffer` is lent until it settles. */
export function request(
  device: BlockDevice,
  op: BlockOp,
  range: ByteRange,
  buffer: Buffer | null,
): Promise<void> {
  return new Promise((resolve, reject) => {
    device.start({
      op,
      ...range,
      buffer,
      bufferAt: 0,
      done: (error) => (error === null ? resolve() : reject(error)),
    });
  });
}

/** Makes every answered write durable. The device can flush. */
export const flush = (device: BlockDevice): Promise<void> =>
  request(device, 'flush', { offsetBytes: 0, lengthBytes: 0 }, null);
