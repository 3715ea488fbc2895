import type { BlockDevice, BlockIo, Capabilities, DeviceError } from '../../device/block-device.js';
import type { Clock } from '../../device/clock.js';
import { PassedOnIo } from '../../device/wrappers/passed-on.js';

/** Slows reads down to a steady rate, so that a person can watch them, and tells how much has been read. */
export class SlowDevice implements BlockDevice {
  readonly name: string;
  readonly mediaSizeBytes: number;
  readonly sectorSizeBytes: number;
  readonly can: Capabilities;
  #readBytes = 0;
  /** When the last of what has been asked for so far is due. */
  #dueMs = 0;

  constructor(
    private readonly inner: BlockDevice,
    private readonly bytesPerSecond: number,
    private readonly clock: Clock,
    /** Called after each read with the sum of all. */
    private readonly onRead: (readBytes: number) => void,
  ) {
    this.name = inner.name;
    this.mediaSizeBytes = inner.mediaSizeBytes;
    this.sectorSizeBytes = inner.sectorSizeBytes;
    this.can = inner.can;
  }

  start(io: BlockIo): void {
    if (io.op !== 'read') {
      this.inner.start(io);
      return;
    }
    const nowMs = this.clock.nowMs();
    this.#dueMs = Math.max(this.#dueMs, nowMs) + (io.lengthBytes / this.bytesPerSecond) * 1000;
    this.clock.after(this.#dueMs - nowMs, () => this.inner.start(new CountedIo(io, () => this.#count(io))));
  }

  close(): Promise<void> {
    return this.inner.close();
  }

  #count(io: BlockIo): void {
    this.#readBytes += io.lengthBytes;
    this.onRead(this.#readBytes);
  }
}

class CountedIo extends PassedOnIo {
  constructor(
    io: BlockIo,
    private readonly counted: () => void,
  ) {
    super(io);
  }

  done(error: DeviceError | null): void {
    this.counted();
    this.io.done(error);
  }
}
