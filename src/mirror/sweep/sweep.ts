import type { DeviceError } from '../../device/block-device.js';
import type { Clock, Timer } from '../../device/clock.js';
import { assert } from '../../protocol/errors.js';
import { CHECKPOINT_BYTES_MIN, CHECKPOINT_MS, CHECKPOINT_PART } from '../limits.js';
import type { RegionRun } from '../area/region-bitmap.js';
import type { Pace } from './pace.js';
import { RateLimit, RateMeter } from './rate.js';

/** One run of regions on its way. Reused. */
export interface SweepPiece {
  readonly lengthBytes: number;
  aim(run: RegionRun): void;
  /** Calls pieceDone() once, and not within this call unless all was said at once. */
  start(): void;
}

/** What a sweep is for. */
export interface SweepJob {
  makePiece(): SweepPiece;
  /** The next regions, at most `regionsMax`; null if there are none at the moment. */
  next(regionsMax: number): RegionRun | null;
  /** Makes what was done durable, so that it is not done again. Rejects with what ends the sweep. */
  checkpoint(): Promise<void>;
  /** All pieces are done and saved, and there is nothing next: null to go on, for there is more after all. */
  completed(): { readonly error: DeviceError | null } | null;
  /** Called once, as the last thing. `error` is what stop() was called with, or what failed. */
  ended(error: DeviceError | null): void;
}

export interface SweepOptions {
  readonly clock: Clock;
  readonly pace: Pace;
  /** 0 for as fast as it goes. */
  readonly rateBytesPerSecond: number;
  readonly totalBytes: number;
  /** Of these, what was done before; 0 if left out. */
  readonly startBytes?: number;
  readonly job: SweepJob;
}

export interface SweepProgress {
  readonly totalBytes: number;
  readonly doneBytes: number;
  readonly leftBytes: number;
  /** Of the last seconds; null while nothing is known. */
  readonly rateBytesPerSecond: number | null;
  /** Null while nothing is known, or nothing goes on. */
  readonly leftSeconds: number | null;
}

/**
 * Walks regions of a mirror beside its callers: as many pieces in flight as the pace says, no more than the rate allows,
 * with a checkpoint now and then while the work goes on.
 *
 * Invariant: unless it has ended there is a piece in flight, a checkpoint under way, or a timer.
 */
export class Sweep {
  readonly #idle: SweepPiece[] = [];
  readonly #startedMs = new Map<SweepPiece, number>();
  #window = 1;
  #timer: Timer | null = null;
  #isFilling = false;
  #isCheckpointing = false;
  #unsavedBytes = 0;
  #savedMs: number;
  #stopped: DeviceError | null = null;
  #finishing: DeviceError | null = null;
  #isStarted = false;
  #isEnded = false;
  #doneBytes: number;
  readonly #limit: RateLimit;
  readonly #meter: RateMeter;
  readonly #whenEnded: (() => void)[] = [];

  constructor(private readonly options: SweepOptions) {
    const { clock, rateBytesPerSecond, startBytes = 0 } = options;
    this.#doneBytes = startBytes;
    this.#limit = new RateLimit(clock, rateBytesPerSecond);
    this.#meter = new RateMeter(clock);
    this.#savedMs = clock.nowMs();
  }

  get progress(): SweepProgress {
    const doneBytes = this.#doneBytes;
    // Regions that were marked meanwhile come on top.
    const totalBytes = Math.max(this.options.totalBytes, doneBytes);
    const leftBytes = totalBytes - doneBytes;
    const rate = this.#meter.bytesPerSecond();
    return {
      totalBytes,
      doneBytes,
      leftBytes,
      rateBytesPerSecond: rate === null ? null : Math.round(rate),
      leftSeconds: rate === null || rate === 0 ? null : Math.ceil(leftBytes / rate),
    };
  }

  start(): void {
    this.#isStarted = true;
    this.options.pace.sweepBegins();
    this.#fill();
  }

  /** Ends as soon as what is under way is done; nothing more is saved. */
  stop(error: DeviceError): void {
    this.#stopped ??= error;
    this.#fill();
  }

  /** Begins nothing new, saves what was done, and ends with `error`. Resolves when it has ended. */
  finish(error: DeviceError): Promise<void> {
    if (this.#isEnded) return Promise.resolve();
    this.#finishing ??= error;
    const ended = new Promise<void>((resolve) => this.#whenEnded.push(resolve));
    this.#fill();
    return ended;
  }

  /** For pieces: `doneBytes` of it are done, 0 if it failed. */
  pieceDone(piece: SweepPiece, doneBytes: number): void {
    const { pace, clock } = this.options;
    const startedMs = this.#startedMs.get(piece);
    assert(startedMs !== undefined, 'sweep: a piece is done that was not begun');
    this.#startedMs.delete(piece);
    this.#idle.push(piece);
    this.#doneBytes += doneBytes;
    this.#unsavedBytes += doneBytes;
    this.#meter.add(doneBytes);
    const pauseMs = pace.pieceEnds(clock.nowMs() - startedMs);
    this.#window = pace.windowAfter(this.#window);
    if (pauseMs > 0) this.#waitFor(pauseMs);
    this.#fill();
  }

  #fill(): void {
    // A piece may be done while it is started.
    if (this.#isFilling || this.#isEnded || !this.#isStarted) return;
    this.#isFilling = true;
    const hasMore = this.#startPieces();
    this.#isFilling = false;
    if (this.#startedMs.size === 0 && !hasMore) this.#rest();
    else if (this.#isCheckpointDue) this.#checkpoint();
  }

  /** False if there is nothing to be begun now, nor after a pause. */
  #startPieces(): boolean {
    const { job, pace, clock } = this.options;
    while (this.#stopped === null && this.#finishing === null) {
      if (this.#timer !== null || this.#startedMs.size >= this.#window) return true;
      const waitMs = this.#limit.waitMs;
      if (waitMs > 0) {
        this.#waitFor(waitMs);
        return true;
      }
      const run = job.next(pace.pieceRegionsMax);
      if (run === null) return false;
      const piece = this.#idle.pop() ?? job.makePiece();
      piece.aim(run);
      this.#limit.take(piece.lengthBytes);
      pace.pieceBegins();
      this.#startedMs.set(piece, clock.nowMs());
      piece.start();
    }
    return false;
  }

  /** Nothing is in flight and nothing can be begun. */
  #rest(): void {
    if (this.#isCheckpointing) return;
    if (this.#stopped !== null) this.#end(this.#stopped);
    else if (this.#unsavedBytes > 0) this.#checkpoint();
    else if (this.#finishing !== null) this.#end(this.#finishing);
    else {
      const completed = this.options.job.completed();
      if (completed === null) this.#fill();
      else this.#end(completed.error);
    }
  }

  get #isCheckpointDue(): boolean {
    if (this.#isCheckpointing || this.#unsavedBytes === 0 || this.#stopped !== null) return false;
    const { clock, totalBytes } = this.options;
    const manyBytes = Math.max(CHECKPOINT_BYTES_MIN, totalBytes / CHECKPOINT_PART);
    return this.#unsavedBytes >= manyBytes || clock.nowMs() - this.#savedMs >= CHECKPOINT_MS;
  }

  #checkpoint(): void {
    this.#isCheckpointing = true;
    this.#unsavedBytes = 0;
    const saved = (error: DeviceError | null): void => {
      this.#isCheckpointing = false;
      this.#savedMs = this.options.clock.nowMs();
      if (error !== null) this.#stopped ??= error;
      this.#fill();
    };
    this.options.job.checkpoint().then(
      () => saved(null),
      (error: unknown) => saved(error as DeviceError),
    );
  }

  #waitFor(delayMs: number): void {
    this.#timer ??= this.options.clock.after(delayMs, () => {
      this.#timer = null;
      this.#fill();
    });
  }

  #end(error: DeviceError | null): void {
    this.#isEnded = true;
    this.#timer?.cancel();
    this.#timer = null;
    this.options.pace.sweepEnds();
    this.options.job.ended(error);
    for (const resolve of this.#whenEnded.splice(0)) resolve();
  }
}
