import type { BlockDevice, BlockIo, Capabilities } from '../../src/device/block-device.js';
import type { Clock } from '../../src/device/clock.js';

export interface QueueDeviceOptions {
  /** What each request costs, and each MiB of it, while nothing else is served. */
  readonly requestMs: number;
  readonly mebibyteMs: number;
  readonly clock: Clock;
}

/** A disk that does one request after the other, each in its time: whoever comes behind others waits for them. */
export class QueueDevice implements BlockDevice {
  readonly name: string;
  readonly mediaSizeBytes: number;
  readonly sectorSizeBytes: number;
  readonly can: Capabilities;
  #freeAtMs = 0;

  constructor(
    private readonly parent: BlockDevice,
    private readonly options: QueueDeviceOptions,
  ) {
    this.name = parent.name;
    this.mediaSizeBytes = parent.mediaSizeBytes;
    this.sectorSizeBytes = parent.sectorSizeBytes;
    this.can = parent.can;
  }

  start(io: BlockIo): void {
    const { clock, requestMs, mebibyteMs } = this.options;
    const nowMs = clock.nowMs();
    const tookMs = requestMs + (io.lengthBytes / 1_048_576) * mebibyteMs;
    this.#freeAtMs = Math.max(this.#freeAtMs, nowMs) + tookMs;
    clock.after(this.#freeAtMs - nowMs, () => this.parent.start(io));
  }

  close(): Promise<void> {
    return this.parent.close();
  }
}
