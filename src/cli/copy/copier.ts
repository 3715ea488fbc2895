import type { BlockDevice, BlockIo, BlockOp, DeviceError } from '../../device/block-device.js';
import type { Pump, Worker } from './pump.js';

/** One write-zeroes request: large, because no data travels, but short enough not to keep a disk for seconds. */
const ZEROES_BYTES_MAX = 8_388_608;

export interface CopyTotals {
  /** Read from the source: what lies in known holes is not. */
  readBytes: number;
  /** Sent to the target as data. */
  writtenBytes: number;
  /** Zeroed in the target without sending data. */
  zeroedBytes: number;
  /** Zeros that the target held already. */
  skippedBytes: number;
}

export interface CopyJob {
  readonly source: BlockDevice;
  readonly target: BlockDevice;
  readonly chunkBytes: number;
  /** Whether the target is known to read as zeros there. Only then is writing left out. */
  readonly isTargetZero: (offsetBytes: number, lengthBytes: number) => boolean;
  readonly totals: CopyTotals;
  /** Zeros to compare with and to write, `chunkBytes` long. Shared; nobody writes into it. */
  readonly zeros: Buffer;
}

/** Reads one chunk of the source and writes it to the target, as data, as zeroes or not at all. */
export class CopyWorker implements Worker, BlockIo {
  offsetBytes = 0;
  lengthBytes = 0;
  isHole = false;
  op: BlockOp = 'read';
  buffer: Buffer | null = null;
  readonly bufferAt = 0;
  readonly #memory: Buffer;
  readonly #zeroing: ZeroIo;

  constructor(
    private readonly pump: Pump,
    private readonly job: CopyJob,
  ) {
    // Every byte is read into before anything is written from it.
    this.#memory = Buffer.allocUnsafe(job.chunkBytes);
    this.#zeroing = new ZeroIo(job, (error) => this.pump.finished(this, error));
  }

  begin(): boolean {
    if (this.isHole) return this.#zero();
    this.op = 'read';
    this.buffer = this.#memory;
    this.job.source.start(this);
    return false;
  }

  /** For the devices: the read or the write of this chunk is done. */
  done(error: DeviceError | null): void {
    const { job } = this;
    if (error !== null) {
      this.pump.finished(this, error);
      return;
    }
    if (this.op === 'write') {
      job.totals.writtenBytes += this.lengthBytes;
      this.pump.finished(this, null);
      return;
    }
    job.totals.readBytes += this.lengthBytes;
    if (this.#memory.compare(job.zeros, 0, this.lengthBytes, 0, this.lengthBytes) === 0) {
      if (this.#zero()) this.pump.finished(this, null);
      return;
    }
    this.op = 'write';
    job.target.start(this);
  }

  /** Makes the target's range zero. Returns true when it is already. */
  #zero(): boolean {
    if (this.job.isTargetZero(this.offsetBytes, this.lengthBytes)) {
      this.job.totals.skippedBytes += this.lengthBytes;
      return true;
    }
    this.#zeroing.begin(this.offsetBytes, this.lengthBytes);
    return false;
  }
}

/**
 * Zeroes a range piece by piece: with write-zeroes where the target can, else by writing zeros. (Not with trim: what a
 * trimmed range reads as is undefined.)
 */
class ZeroIo implements BlockIo {
  readonly op: BlockOp;
  readonly buffer: Buffer | null;
  readonly bufferAt = 0;
  offsetBytes = 0;
  lengthBytes = 0;
  readonly #pieceBytesMax: number;
  #leftBytes = 0;

  constructor(
    private readonly job: CopyJob,
    private readonly finished: (error: DeviceError | null) => void,
  ) {
    const canZero = job.target.can.writeZeroes;
    this.op = canZero ? 'write-zeroes' : 'write';
    this.buffer = canZero ? null : job.zeros;
    this.#pieceBytesMax = canZero ? ZEROES_BYTES_MAX : job.chunkBytes;
  }

  begin(offsetBytes: number, lengthBytes: number): void {
    this.offsetBytes = offsetBytes;
    this.#leftBytes = lengthBytes;
    this.#startPiece();
  }

  done(error: DeviceError | null): void {
    if (error !== null) {
      this.finished(error);
      return;
    }
    if (this.buffer === null) this.job.totals.zeroedBytes += this.lengthBytes;
    else this.job.totals.writtenBytes += this.lengthBytes;
    this.#leftBytes -= this.lengthBytes;
    this.offsetBytes += this.lengthBytes;
    if (this.#leftBytes === 0) this.finished(null);
    else this.#startPiece();
  }

  #startPiece(): void {
    this.lengthBytes = Math.min(this.#leftBytes, this.#pieceBytesMax);
    this.job.target.start(this);
  }
}
