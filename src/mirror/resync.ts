import type { BlockIo } from '../device/block-device.js';
import { DeviceError } from '../device/block-device.js';
import type { Clock, Timer } from '../device/clock.js';
import { REGION_SIZE_BYTES } from '../protocol/geometry.js';
import type { Component, ComponentIo } from './component.js';
import { flushComponent } from './mirror-flush.js';
import type { RangeHolder, RangeLocks } from './range-locks.js';

export interface ResyncOptions {
  readonly target: Component;
  readonly mediaSizeBytes: number;
  readonly locks: RangeLocks;
  readonly clock: Clock;
  /** Reads from the ACTIVE components, as the mirror's callers do. */
  readonly read: (io: BlockIo) => void;
  /** Requests of callers that are under way; while there are some the resync keeps to one piece at a time. */
  readonly foreground: () => number;
  /** 0 for as fast as it goes. */
  readonly rateBytesPerSecond: number;
  /** Called once: null when target has everything, flushed; else why not, and it is still connected or not. */
  readonly ended: (error: DeviceError | null) => void;
}

export interface ResyncProgress {
  readonly totalBytes: number;
  readonly leftBytes: number;
  readonly copiedBytes: number;
  readonly elapsedMs: number;
}

const PIECE_REGIONS = 16;
const PIECE_BYTES = PIECE_REGIONS * REGION_SIZE_BYTES;
const IN_FLIGHT_MAX = 4;
/** Marks are cleared when the target has flushed, and it is asked to after this much. */
const CHECKPOINT_BYTES = 64 * 1_048_576;
const ZEROES = Buffer.alloc(PIECE_BYTES);

/**
 * Copies every marked region from the ACTIVE components to one that misses them, beside the callers' requests.
 *
 * A region is copied with its range locked, so no write races it, and while it is SYNCHRONIZING the target takes every
 * write too; so what was copied once stays equal. Its mark goes only after the target has flushed it.
 */
export class Resync {
  readonly #idle: Piece[] = [];
  #busy = 0;
  #cursor = 0;
  #copiedBytes = 0;
  #sinceCheckpointBytes = 0;
  #copied: { first: number; count: number }[] = [];
  #unreadable: DeviceError | null = null;
  #stopped: DeviceError | null = null;
  #isEnded = false;
  #isCheckpointing = false;
  #pause: Timer | null = null;
  readonly #startedAtMs: number;
  readonly #totalBytes: number;

  constructor(private readonly options: ResyncOptions) {
    this.#startedAtMs = options.clock.nowMs();
    this.#totalBytes = options.target.missing.countMarked * REGION_SIZE_BYTES;
    for (let index = 0; index < IN_FLIGHT_MAX; index++) this.#idle.push(new Piece(this, options));
  }

  get progress(): ResyncProgress {
    const leftBytes = Math.max(0, this.#totalBytes - this.#copiedBytes);
    const elapsedMs = this.options.clock.nowMs() - this.#startedAtMs;
    return { totalBytes: this.#totalBytes, leftBytes, copiedBytes: this.#copiedBytes, elapsedMs };
  }

  start(): void {
    this.#fill();
  }

  /** Ends as soon as what is under way is done. */
  stop(error: DeviceError): void {
    this.#stopped ??= error;
    this.#pause?.cancel();
    this.#pause = null;
    if (this.#busy === 0 && !this.#isCheckpointing) this.#end(this.#stopped);
  }

  /** For Piece: it has been copied, or the target failed, or the source did. */
  pieceDone(piece: Piece, targetError: DeviceError | null, sourceError: DeviceError | null): void {
    this.#busy -= 1;
    this.#idle.push(piece);
    if (targetError !== null) this.#stopped ??= targetError;
    else if (sourceError !== null) this.#unreadable ??= sourceError;
    else {
      this.#copied.push({ first: piece.first, count: piece.count });
      this.#copiedBytes += piece.lengthBytes;
      this.#sinceCheckpointBytes += piece.lengthBytes;
    }
    this.#fill();
  }

  #fill(): void {
    if (this.#isEnded || this.#isCheckpointing || this.#pause !== null) return;
    if (this.#stopped !== null) {
      if (this.#busy === 0) this.#end(this.#stopped);
      return;
    }
    const inFlightMax = this.options.foreground() > 0 ? 1 : IN_FLIGHT_MAX;
    while (this.#busy < inFlightMax && this.#sinceCheckpointBytes < CHECKPOINT_BYTES) {
      if (this.#isAheadOfRate()) return;
      const piece = this.#nextPiece();
      if (piece === null) break;
      this.#busy += 1;
      piece.start();
    }
    if (this.#busy === 0) this.#checkpoint();
  }

  #nextPiece(): Piece | null {
    const { missing } = this.options.target;
    const first = missing.nextMarked(this.#cursor);
    if (first < 0) return null;
    let count = 1;
    while (count < PIECE_REGIONS && missing.isMarked(first + count)) count += 1;
    this.#cursor = first + count;
    const piece = this.#idle.pop();
    piece?.aim(first, count);
    return piece ?? null;
  }

  /** Waits if the copying is ahead of the allowed rate. */
  #isAheadOfRate(): boolean {
    const { rateBytesPerSecond, clock } = this.options;
    if (rateBytesPerSecond === 0) return false;
    const dueMs =
      this.#startedAtMs + ((this.#copiedBytes + this.#busy * PIECE_BYTES) / rateBytesPerSecond) * 1000;
    const delayMs = dueMs - clock.nowMs();
    if (delayMs <= 0) return false;
    this.#pause = clock.after(delayMs, () => {
      this.#pause = null;
      this.#fill();
    });
    return true;
  }

  /** Everything that was copied is flushed, then its marks go. With nothing left to copy this is the end. */
  #checkpoint(): void {
    const { target, mediaSizeBytes } = this.options;
    this.#isCheckpointing = true;
    const flushed = this.#copied;
    this.#copied = [];
    this.#sinceCheckpointBytes = 0;
    flushComponent(target, mediaSizeBytes).then(
      (error) => {
        this.#isCheckpointing = false;
        if (error === null && this.#stopped === null)
          for (const { first, count } of flushed) target.missing.clearRun(first, count);
        else this.#stopped ??= error;
        if (this.#stopped !== null) this.#end(this.#stopped);
        else this.#goOn(flushed.length === 0);
      },
      (error: unknown) => this.#end(error as DeviceError),
    );
  }

  #goOn(isFlushed: boolean): void {
    const { missing } = this.options.target;
    if (missing.nextMarked(this.#cursor) < 0 && isFlushed) {
      if (missing.countMarked === 0 || this.#unreadable !== null) {
        this.#end(this.#unreadable);
        return;
      }
      // Something was marked behind the cursor meanwhile.
      this.#cursor = 0;
    }
    this.#fill();
  }

  #end(error: DeviceError | null): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.options.ended(error);
  }
}

/** One run of marked regions on its way: lock, read, write, unlock. Reused, with its buffer. */
class Piece implements RangeHolder, BlockIo, ComponentIo {
  readonly #buffer = Buffer.alloc(PIECE_BYTES);
  first = 0;
  count = 0;
  offsetBytes = 0;
  lengthBytes = 0;
  op: 'read' | 'write' | 'write-zeroes' = 'read';
  readonly bufferAt = 0;

  constructor(
    private readonly resync: Resync,
    private readonly options: ResyncOptions,
  ) {}

  get buffer(): Buffer | null {
    return this.op === 'write-zeroes' ? null : this.#buffer;
  }

  aim(first: number, count: number): void {
    this.first = first;
    this.count = count;
    this.offsetBytes = first * REGION_SIZE_BYTES;
    this.lengthBytes = Math.min(count * REGION_SIZE_BYTES, this.options.mediaSizeBytes - this.offsetBytes);
  }

  start(): void {
    if (this.options.locks.acquire(this)) this.granted();
  }

  granted(): void {
    this.op = 'read';
    this.options.read(this);
  }

  /** The read is done. */
  done(error: DeviceError | null): void {
    if (error !== null) {
      this.#end(null, error);
      return;
    }
    const { target } = this.options;
    if (!target.takesWrites) {
      this.#end(new DeviceError('DEVICE_LOST', 'ENXIO', `${target.name} is gone`), null);
      return;
    }
    const isZero = this.#buffer.compare(ZEROES, 0, this.lengthBytes, 0, this.lengthBytes) === 0;
    // A hole stays a hole where the target knows how.
    this.op = isZero && target.can.writeZeroes ? 'write-zeroes' : 'write';
    target.start(this);
  }

  /** The write is done. */
  answered(component: Component, error: DeviceError | null): void {
    if (error === null) component.unflushed.mark(this);
    this.#end(error, null);
  }

  #end(targetError: DeviceError | null, sourceError: DeviceError | null): void {
    this.options.locks.release(this);
    this.resync.pieceDone(this, targetError, sourceError);
  }
}
