import type { ByteRange } from '../protocol/geometry.js';
import { DeviceError, type BlockDevice, type BlockOp } from './block-device.js';

/**
 * One request as a promise, for everything that isn't in a hurry. `buffer` is lent until it settles, from `bufferAt` on.
 * Rejects with DeviceError.
 */
export function request(
  device: BlockDevice,
  op: BlockOp,
  { offsetBytes, lengthBytes }: ByteRange,
  buffer: Buffer | null,
  bufferAt = 0,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const done = (error: Error | null): void => (error === null ? resolve() : reject(error));
    device.start({ op, offsetBytes, lengthBytes, buffer, bufferAt, done });
  });
}

/** Makes every answered write durable. The device can flush. */
export const flush = (device: BlockDevice): Promise<void> =>
  request(device, 'flush', { offsetBytes: 0, lengthBytes: 0 }, null);

/** Whether the device said that it can't flush, though it said that it can when it was opened. */
export const isFlushDenial = (error: unknown): boolean =>
  error instanceof DeviceError && error.errno === 'EOPNOTSUPP';

/** On a device that can't flush it does nothing, also where only the flush itself tells. */
export async function flushWhereAble(device: BlockDevice): Promise<void> {
  if (!device.can.flush) return;
  await flush(device).catch((error: unknown) => {
    if (!isFlushDenial(error)) throw error;
  });
}
