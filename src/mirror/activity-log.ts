import { LRUCache } from 'lru-cache';
import type { DeviceError } from '../device/block-device.js';
import { assert } from '../protocol/errors.js';
import type { ByteRange } from '../protocol/geometry.js';

/** A write that wants its extents hot. */
export interface LogEntrant extends ByteRange {
  /** Its extents are on stable storage as hot, and pinned; or the log can't be written. Not called if enter() said yes. */
  entered(error: DeviceError | null): void;
}

export interface ActivityLogOptions {
  readonly extentSizeBytes: number;
  /** Most extents that are hot at once: the price of a crash is this many extents to compare. */
  readonly extentsMax: number;
  /** Puts the whole set on stable storage. */
  readonly commit: (extents: readonly number[]) => Promise<void>;
  /**
   * Makes these extents fit to leave: every write into them is flushed wherever it can be, and what a component misses
   * of them is on stable storage in its bitmap.
   */
  readonly retire: (extents: readonly number[]) => Promise<void>;
}

interface Extent {
  readonly index: number;
  /** Writes in flight. */
  pins: number;
  /** On its way out, unless a write comes first. */
  isRetiring: boolean;
}

/** When room must be made, this part of the log goes at once, so that one flush pays for many. */
const RETIRE_PART = 8;
const NONE: ReadonlySet<number> = new Set();

/**
 * The set of extents that may have writes in flight or not yet flushed, on stable storage before the first such write
 * (docs/on-disk-format.md, "Activity log"). Source of the idea: DRBD's activity log.
 *
 * A write into a hot extent costs one look-up. Writes into cold ones wait together for one transaction.
 * Invariant: what is in `#hot` has been committed and not been committed away; pins > 0 only in `#hot`.
 */
export class ActivityLog {
  readonly #hot: LRUCache<number, Extent>;
  #waiting: LogEntrant[] = [];
  #isBusy = false;
  /** A write left while the log was busy: there may be more room than it saw. */
  #hasLeft = false;
  /** Nothing changed since the log was committed empty. */
  #isEmpty = true;
  #emptying: Promise<boolean> | null = null;

  constructor(private readonly options: ActivityLogOptions) {
    this.#hot = new LRUCache({ max: options.extentsMax });
  }

  get size(): number {
    return this.#hot.size;
  }

  extents(): number[] {
    return [...this.#hot.keys()].sort((one, other) => one - other);
  }

  /** True if the write may go on at once; then, and after entered(null), it must leave(). */
  enter(entrant: LogEntrant): boolean {
    // Those that wait go first, or a stream of hot writes could keep the log from ever making room for them.
    if (this.#waiting.length === 0 && this.#pinAll(entrant)) return true;
    this.#waiting.push(entrant);
    this.#work();
    return false;
  }

  leave(range: ByteRange): void {
    const last = this.#lastOf(range);
    for (let index = this.#firstOf(range); index <= last; index++) {
      const extent = this.#hot.peek(index);
      assert(extent !== undefined && extent.pins > 0, 'activity log: left without having entered');
      extent.pins -= 1;
    }
    this.#hasLeft = true;
    if (this.#waiting.length > 0) this.#work();
  }

  /** Retires everything. Returns false if a write came in between; then some of it is still hot. */
  empty(): Promise<boolean> {
    this.#emptying ??= this.#empty().finally(() => (this.#emptying = null));
    return this.#emptying;
  }

  async #empty(): Promise<boolean> {
    if (this.#isBusy || this.#waiting.length > 0) return false;
    if (this.#isEmpty) return true;
    this.#isBusy = true;
    try {
      await this.#retire(this.#idle(this.#hot.size));
      if (this.#waiting.length > 0) return false;
      await this.options.commit(this.extents());
      this.#isEmpty = this.#hot.size === 0;
      return this.#isEmpty;
    } finally {
      this.#isBusy = false;
      if (this.#waiting.length > 0) this.#work();
    }
  }

  #firstOf(range: ByteRange): number {
    return Math.floor(range.offsetBytes / this.options.extentSizeBytes);
  }

  #lastOf(range: ByteRange): number {
    return Math.floor((range.offsetBytes + range.lengthBytes - 1) / this.options.extentSizeBytes);
  }

  #pinAll(range: ByteRange): boolean {
    const first = this.#firstOf(range);
    const last = this.#lastOf(range);
    for (let index = first; index <= last; index++) if (!this.#hot.has(index)) return false;
    for (let index = first; index <= last; index++) {
      const extent = this.#hot.get(index);
      assert(extent !== undefined, 'activity log: an extent left while it was looked at');
      extent.pins += 1;
      extent.isRetiring = false;
    }
    return true;
  }

  #work(): void {
    if (this.#isBusy) return;
    this.#isBusy = true;
    this.#hasLeft = false;
    this.#admit().then(
      () => this.#worked(null),
      (error: unknown) => this.#worked(error as DeviceError),
    );
  }

  #worked(error: DeviceError | null): void {
    this.#isBusy = false;
    const waiting = this.#waiting;
    this.#waiting = [];
    if (error !== null) {
      for (const entrant of waiting) entrant.entered(error);
      return;
    }
    const ready = waiting.filter((entrant) => this.#pinAll(entrant) || !this.#waiting.push(entrant));
    for (const entrant of ready) entrant.entered(null);
    // Who does not fit waits until a write leaves; who came meanwhile is served now.
    if (this.#waiting.length > 0 && (ready.length > 0 || this.#hasLeft)) this.#work();
  }

  /** Makes as many of the wanted extents hot as there is room for, those of the first comers first. */
  async #admit(): Promise<void> {
    const wanted = this.#wanted();
    const cold = [...wanted].filter((index) => !this.#hot.has(index));
    const missing = this.#hot.size + cold.length - this.options.extentsMax;
    if (missing > 0) {
      const part = Math.ceil(this.options.extentsMax / RETIRE_PART);
      await this.#retire(this.#idle(Math.max(missing, part), wanted));
    }
    const room = this.options.extentsMax - this.#hot.size;
    const coming = cold.slice(0, room);
    if (coming.length === 0) return;
    // Of a commit that fails some may be written.
    this.#isEmpty = false;
    await this.options.commit([...this.extents(), ...coming].sort((one, other) => one - other));
    for (const index of coming) this.#hot.set(index, { index, pins: 0, isRetiring: false });
  }

  /** The extents of those who wait, hot or not: the first comers', whole writes only, as many as fit the log. */
  #wanted(): Set<number> {
    const wanted = new Set<number>();
    for (const entrant of this.#waiting) {
      const first = this.#firstOf(entrant);
      const own = Array.from({ length: this.#lastOf(entrant) - first + 1 }, (_, index) => first + index);
      const more = own.filter((index) => !wanted.has(index));
      if (wanted.size + more.length > this.options.extentsMax) break;
      for (const index of more) wanted.add(index);
    }
    return wanted;
  }

  /** The least recently used extents that no write is in, at most `count`. */
  #idle(count: number, except: ReadonlySet<number> = NONE): Extent[] {
    const idle: Extent[] = [];
    for (const extent of this.#hot.rvalues()) {
      if (idle.length >= count) break;
      if (extent !== undefined && extent.pins === 0 && !except.has(extent.index)) idle.push(extent);
    }
    return idle;
  }

  async #retire(extents: readonly Extent[]): Promise<void> {
    if (extents.length === 0) return;
    for (const extent of extents) extent.isRetiring = true;
    await this.options.retire(extents.map((extent) => extent.index));
    for (const extent of extents) if (extent.isRetiring) this.#hot.delete(extent.index);
  }
}
