import type { BlockDevice, BlockOp } from '../../src/device/block-device.js';

/** One request, awaited. `buffer` is what is written, or what a read fills. Rejects with the DeviceError. */
export function perform(
  device: BlockDevice,
  op: BlockOp,
  offsetBytes: number,
  buffer: Buffer | null,
): Promise<void> {
  return new Promise((resolve, reject) => {
    device.start({
      op,
      offsetBytes,
      lengthBytes: buffer?.length ?? 0,
      buffer,
      bufferAt: 0,
      done: (error) => (error === null ? resolve() : reject(error)),
    });
  });
}
