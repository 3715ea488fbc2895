import type { BlockIo, DeviceError } from '../../device/block-device.js';
import type { Clock } from '../../device/clock.js';
import { REGION_SIZE_BYTES, regionCount, type ByteRange } from '../../protocol/geometry.js';
import type { Component } from '../component.js';
import { flushComponent } from '../mirror-flush.js';
import type { RangeLocks } from '../range-locks.js';
import { RegionBitmap, type RegionRun } from '../area/region-bitmap.js';
import { clearMarks } from '../area/region-runs.js';
import { ResyncPiece } from './resync-piece.js';
import { Asking } from './asking.js';
import type { Pace } from './pace.js';
import { Sweep, type SweepJob, type SweepPiece, type SweepProgress } from './sweep.js';

export interface ResyncOptions {
  readonly target: Component;
  readonly mediaSizeBytes: number;
  readonly locks: RangeLocks;
  readonly clock: Clock;
  readonly pace: Pace;
  /** Reads and checksums from the ACTIVE components, as the mirror's callers do. */
  readonly read: (io: BlockIo) => void;
  /** What is read comes over a network from a component that can tell checksums. */
  readonly sourceTellsSums: () => boolean;
  /** Writes down what the target still misses, to be found after a crash. Nobody waits for it to be flushed. */
  readonly saveMarks: () => Promise<void>;
  /** 0 for as fast as it goes. */
  readonly rateBytesPerSecond: number;
  /** Called once: null when target has everything, flushed; else why not, and it is still connected or not. */
  readonly ended: (error: DeviceError | null) => void;
}

export interface ResyncProgress extends SweepProgress {
  /** Sent to the target as data. */
  readonly sentBytes: number;
  /** Zeroed there without sending anything. */
  readonly zeroedBytes: number;
  /** Found equal by checksums, and left as it was. */
  readonly equalBytes: number;
}

/**
 * Copies every marked region that differs from the ACTIVE components to one that misses them, beside the callers'
 * requests.
 *
 * A region is compared and copied with its range locked, so no write races it, and while it is SYNCHRONIZING the target
 * takes every write too; so what was copied once stays equal. Its mark goes only after the target has flushed it.
 */
export class Resync implements SweepJob {
  readonly #sweep: Sweep;
  readonly #asking = new Asking();
  readonly totals = { sentBytes: 0, zeroedBytes: 0, equalBytes: 0 };
  #cursor = 0;
  /** Regions that are the same in the target, but may not be flushed there; and those that are being flushed. */
  #copied: RegionBitmap;
  #flushing: RegionBitmap | null = null;
  #unreadable: DeviceError | null = null;

  constructor(private readonly options: ResyncOptions) {
    const { clock, pace, rateBytesPerSecond, target, mediaSizeBytes } = options;
    const totalBytes = target.missing.markedBytes;
    this.#sweep = new Sweep({ clock, pace, rateBytesPerSecond, totalBytes, job: this });
    this.#copied = new RegionBitmap(mediaSizeBytes);
  }

  get progress(): ResyncProgress {
    return { ...this.#sweep.progress, ...this.totals };
  }

  start(): void {
    this.#sweep.start();
  }

  /** Ends as soon as what is under way is done. */
  stop(error: DeviceError): void {
    this.#sweep.stop(error);
  }

  /** Ends with everything saved that was copied. Resolves when `ended` has been called. */
  finish(error: DeviceError): Promise<void> {
    return this.#sweep.finish(error);
  }

  /** The target may have other bytes there than the ACTIVE ones, whatever was copied. The caller marks it, too. */
  differsAgain(range: ByteRange): void {
    const first = Math.floor(range.offsetBytes / REGION_SIZE_BYTES);
    const count = regionCount((range.offsetBytes % REGION_SIZE_BYTES) + range.lengthBytes);
    this.#copied.clearRun(first, count);
    this.#flushing?.clearRun(first, count);
  }

  // For the sweep. See SweepJob.

  makePiece(): SweepPiece {
    return new ResyncPiece({
      ...this.options,
      asking: this.#asking,
      totals: this.totals,
      done: (piece) => this.#copiedTo(piece),
      failed: (piece, side, error) => {
        // What can't be read may be readable tomorrow; the rest is copied all the same.
        if (side === 'source') this.#unreadable ??= error;
        else this.#sweep.stop(error);
        this.#sweep.pieceDone(piece, 0);
      },
    });
  }

  next(regionsMax: number): RegionRun | null {
    const run = this.options.target.missing.nextMarkedRun(this.#cursor, regionsMax);
    if (run !== null) this.#cursor = run.firstRegion + run.regionCount;
    return run;
  }

  async checkpoint(): Promise<void> {
    const { target, mediaSizeBytes } = this.options;
    const flushing = this.#copied;
    this.#flushing = flushing;
    this.#copied = new RegionBitmap(mediaSizeBytes);
    const error = await flushComponent(target);
    this.#flushing = null;
    if (error !== null) throw error;
    // If the target was lost meanwhile the marks stay, which costs no more than copying again.
    if (!target.takesWrites) return;
    clearMarks(target.missing, flushing);
    await this.options.saveMarks();
  }

  completed(): { readonly error: DeviceError | null } | null {
    if (this.options.target.missing.countMarked === 0 || this.#unreadable !== null)
      return { error: this.#unreadable };
    // Something was marked behind the cursor meanwhile.
    this.#cursor = 0;
    return null;
  }

  ended(error: DeviceError | null): void {
    this.options.ended(error);
  }

  #copiedTo(piece: ResyncPiece): void {
    this.#copied.markRun(piece.firstRegion, piece.regionCount);
    this.#sweep.pieceDone(piece, piece.lengthBytes);
  }
}
