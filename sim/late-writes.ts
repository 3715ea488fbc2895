import type { BlockIo } from '../src/device/block-device.js';
import { DiskHandle, type Drive } from './disk-handle.js';
import { patch } from './planted/mistake.js';
import type { World } from './world.js';

/** Of a disk, so much is written by clients: see Plan. Behind it are the mirror's own things. */
const DATA_BYTES = 12 * 1_048_576;
const LATE_MS = 40;

/** A mistake anywhere below a disk: what was written happens once more, later. Returns what takes it out again. */
export function plantLateWrites(): () => void {
  // eslint-disable-next-line @typescript-eslint/unbound-method -- it is called with the handle as this
  const { start } = DiskHandle.prototype;
  return patch(DiskHandle.prototype, {
    start(this: DiskHandle, io: BlockIo) {
      const { world, drive } = this as unknown as { world: World; drive: Drive };
      const { op, offsetBytes, lengthBytes, buffer, bufferAt } = io;
      const bytes = op === 'write' ? buffer?.subarray(bufferAt, bufferAt + lengthBytes) : undefined;
      const copy = bytes === undefined || offsetBytes >= DATA_BYTES ? null : Buffer.from(bytes);
      const startedAt = world.nextOrder();
      start.call(this, io);
      if (copy === null) return;
      world.after(LATE_MS, () => {
        const range = { offsetBytes, lengthBytes };
        drive.conduct.beforeWrite(range, copy, startedAt);
        drive.disk.write(range, copy, { answeredAt: Infinity });
      });
    },
  });
}
