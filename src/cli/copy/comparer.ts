import type { BlockDevice, BlockIo, BlockOp, DeviceError } from '../../device/block-device.js';
import { checksumRegions, checksumsBytes, REGION_CHECKSUM_BYTES } from '../../protocol/region-checksums.js';
import { REGION_SIZE_BYTES, regionCount, type ByteRange } from '../../protocol/geometry.js';
import type { Pump, Worker } from './pump.js';

export interface CompareJob {
  readonly source: BlockDevice;
  readonly target: BlockDevice;
  /** A multiple of REGION_SIZE_BYTES. */
  readonly chunkBytes: number;
  /** Compare checksums of regions where a device can tell them: for devices whose data would have to travel. */
  readonly useChecksums: boolean;
  /** Whether the target is known to read as zeros there; then a hole of the source needs no look. */
  readonly isTargetZero: (offsetBytes: number, lengthBytes: number) => boolean;
  /** Hears of each region that differs, in no order; at the end of the medium it may be shorter than a region. */
  readonly differs: (region: ByteRange) => void;
}

/**
 * Compares one chunk of two devices. When one of them can tell checksums, they are compared region by region,
 * so that its data need not travel; otherwise the data itself.
 */
export class CompareWorker implements Worker {
  offsetBytes = 0;
  lengthBytes = 0;
  isHole = false;
  readonly #source: SideIo;
  readonly #target: SideIo;
  #usesChecksums = false;
  #waiting = 0;
  #error: DeviceError | null = null;

  constructor(
    private readonly pump: Pump,
    private readonly job: CompareJob,
  ) {
    const ended = (error: DeviceError | null): void => this.#sideDone(error);
    this.#source = new SideIo(job.source, job.chunkBytes, ended);
    this.#target = new SideIo(job.target, job.chunkBytes, ended);
  }

  begin(): boolean {
    if (this.isHole && this.job.isTargetZero(this.offsetBytes, this.lengthBytes)) return true;
    this.#waiting = 2;
    this.#error = null;
    const { source, target, useChecksums } = this.job;
    this.#usesChecksums = useChecksums && (tells(source, this) || tells(target, this));
    this.#source.begin(this, this.#usesChecksums);
    this.#target.begin(this, this.#usesChecksums);
    return false;
  }

  #sideDone(error: DeviceError | null): void {
    this.#error ??= error;
    this.#waiting -= 1;
    if (this.#waiting > 0) return;
    if (this.#error === null) this.#compare();
    this.pump.finished(this, this.#error);
  }

  #compare(): void {
    const unitBytes = this.#usesChecksums ? REGION_CHECKSUM_BYTES : REGION_SIZE_BYTES;
    const count = regionCount(this.lengthBytes);
    for (let index = 0; index < count; index++) {
      const startBytes = index * REGION_SIZE_BYTES;
      const regionBytes = Math.min(REGION_SIZE_BYTES, this.lengthBytes - startBytes);
      const at = index * unitBytes;
      const end = at + (this.#usesChecksums ? REGION_CHECKSUM_BYTES : regionBytes);
      if (this.#source.result.compare(this.#target.result, at, end, at, end) === 0) continue;
      this.job.differs({ offsetBytes: this.offsetBytes + startBytes, lengthBytes: regionBytes });
    }
  }
}

/** One side's share of a chunk: its checksums or its data, in `result` when done. */
class SideIo implements BlockIo {
  op: BlockOp = 'read';
  readonly bufferAt = 0;
  offsetBytes = 0;
  lengthBytes = 0;
  // Only bytes that the device has filled, or that were reckoned from them, are ever looked at.
  readonly #data: Buffer;
  readonly #checksums: Buffer;
  buffer: Buffer;
  /** What is compared once `ended` was called. */
  result: Buffer;

  constructor(
    private readonly device: BlockDevice,
    chunkBytes: number,
    private readonly ended: (error: DeviceError | null) => void,
  ) {
    this.#data = Buffer.allocUnsafe(chunkBytes);
    this.#checksums = Buffer.allocUnsafe(checksumsBytes(chunkBytes));
    this.buffer = this.#data;
    this.result = this.#data;
  }

  begin(range: ByteRange, usesChecksums: boolean): void {
    this.offsetBytes = range.offsetBytes;
    this.lengthBytes = range.lengthBytes;
    this.result = usesChecksums ? this.#checksums : this.#data;
    const asks = usesChecksums && tells(this.device, range);
    this.op = asks ? 'checksum' : 'read';
    this.buffer = asks ? this.#checksums : this.#data;
    this.device.start(this);
  }

  done(error: DeviceError | null): void {
    if (error === null && this.result !== this.buffer) {
      checksumRegions(this.buffer.subarray(0, this.lengthBytes), this.result, 0);
    }
    this.ended(error);
  }
}

/** A checksum's range is whole regions or ends with the medium, and the two media may end at different places. */
function tells(device: BlockDevice, { offsetBytes, lengthBytes }: ByteRange): boolean {
  const isWhole = lengthBytes % REGION_SIZE_BYTES === 0;
  return device.can.checksum && (isWhole || offsetBytes + lengthBytes === device.mediaSizeBytes);
}
