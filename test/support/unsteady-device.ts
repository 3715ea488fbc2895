import {
  DeviceError,
  type BlockDevice,
  type BlockIo,
  type Capabilities,
} from '../../src/device/block-device.js';
import type { SeededRandom } from './seeded-random.js';

/** Requests wait until step() does one of them, in no order: whatever is in flight together may overtake. */
export class UnsteadyDevice implements BlockDevice {
  readonly name: string;
  readonly mediaSizeBytes: number;
  readonly sectorSizeBytes: number;
  readonly can: Capabilities;
  readonly #waiting: BlockIo[] = [];
  #isLost = false;

  constructor(private readonly parent: BlockDevice) {
    this.name = parent.name;
    this.mediaSizeBytes = parent.mediaSizeBytes;
    this.sectorSizeBytes = parent.sectorSizeBytes;
    this.can = parent.can;
  }

  start(io: BlockIo): void {
    if (this.#isLost) queueMicrotask(() => io.done(this.#lostError()));
    else this.#waiting.push(io);
  }

  /** Does one request that waits; false if there is none. */
  step(random: SeededRandom): boolean {
    if (this.#waiting.length === 0) return false;
    const [io] = this.#waiting.splice(random.below(this.#waiting.length), 1);
    if (io !== undefined) this.parent.start(io);
    return true;
  }

  /** What waits fails; of the writes among it any may have been done. */
  lose(random: SeededRandom): void {
    this.#isLost = true;
    for (const io of this.#waiting.splice(0)) {
      const isWrite = io.op === 'write' || io.op === 'write-zeroes';
      const done = (): void => io.done(this.#lostError());
      if (isWrite && random.chance(0.5)) {
        const { op, offsetBytes, lengthBytes, buffer, bufferAt } = io;
        this.parent.start({ op, offsetBytes, lengthBytes, buffer, bufferAt, done });
      } else queueMicrotask(done);
    }
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  #lostError(): DeviceError {
    return new DeviceError('DEVICE_LOST', 'ENXIO', `${this.name} is gone`);
  }
}
