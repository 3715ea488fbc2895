import { assert } from '../protocol/errors.js';
import type { ByteRange } from '../protocol/geometry.js';

/** Who wants a range to itself. */
export interface RangeHolder extends ByteRange {
  /** The range is yours now. Not called when acquire() said so at once. */
  granted(): void;
}

const overlap = (one: ByteRange, other: ByteRange): boolean =>
  one.offsetBytes < other.offsetBytes + other.lengthBytes &&
  other.offsetBytes < one.offsetBytes + one.lengthBytes;

/**
 * Exclusive ranges, granted in the order of asking: writes that overlap reach every component in one order, and a
 * resync copies no region while it is written. Who does not overlap anybody waits for nobody, so the lists are short:
 * as many entries as there are writes in flight.
 *
 * Invariant: held ranges do not overlap; each waiting one overlaps a held one or one that waits before it.
 */
export class RangeLocks {
  readonly #held: RangeHolder[] = [];
  #waiting: RangeHolder[] = [];

  /** True if the range is the holder's at once. */
  acquire(holder: RangeHolder): boolean {
    if (
      isBlocked(holder, this.#held, this.#held.length) ||
      isBlocked(holder, this.#waiting, this.#waiting.length)
    ) {
      this.#waiting.push(holder);
      return false;
    }
    this.#held.push(holder);
    return true;
  }

  /** Gives the range back and grants what waited for it, in order. */
  release(holder: RangeHolder): void {
    const index = this.#held.indexOf(holder);
    assert(index >= 0, 'range locks: released by who does not hold');
    const last = this.#held.pop();
    assert(last !== undefined, 'range locks: nothing held');
    if (last !== holder) this.#held[index] = last;
    if (this.#waiting.length > 0) this.#grant();
  }

  get heldCount(): number {
    return this.#held.length;
  }

  get waitingCount(): number {
    return this.#waiting.length;
  }

  #grant(): void {
    const granted: RangeHolder[] = [];
    const still: RangeHolder[] = [];
    for (const holder of this.#waiting) {
      if (isBlocked(holder, this.#held, this.#held.length) || isBlocked(holder, still, still.length))
        still.push(holder);
      else {
        this.#held.push(holder);
        granted.push(holder);
      }
    }
    this.#waiting = still;
    // Last, for what it calls may ask for further ranges.
    for (const holder of granted) holder.granted();
  }
}

function isBlocked(holder: ByteRange, others: readonly ByteRange[], count: number): boolean {
  for (let index = 0; index < count; index++) {
    const other = others[index];
    if (other !== undefined && overlap(holder, other)) return true;
  }
  return false;
}
