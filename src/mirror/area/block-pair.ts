import { AREA_BLOCK_BYTES } from '../../protocol/area-block.js';
import { otherCopy, type Copy } from '../../protocol/area-layout.js';
import { assert } from '../../protocol/errors.js';
import type { PlacedBlock } from './block-runs.js';

/** What the two blocks of a pair were found to be. `sequence` is that of a valid one, else 0. */
export interface FoundCopy {
  readonly state: 'valid' | 'empty' | 'damaged';
  readonly sequence: number;
}

const NEVER_WRITTEN: FoundCopy = { state: 'empty', sequence: 0 };

/** Which copy tells the version of the pair; null if both are damaged. Of equals the first. */
export function newestCopy(found: readonly [FoundCopy, FoundCopy]): Copy | null {
  const [a, b] = found;
  if (a.state === 'valid' || b.state === 'valid') return b.sequence > a.sequence ? 1 : 0;
  if (a.state === 'empty') return 0;
  return b.state === 'empty' ? 1 : null;
}

/**
 * Where the next version of a pair goes (docs/on-disk-format.md, "Blocks", rules 1 and 2).
 *
 * Invariant: the copy `#safe` holds the newest version that is known to be on stable storage, or the newest that was
 * found while the pair is in doubt, and nothing else is written to it; `#written` and `#echo` are what the other copy
 * holds, or is to hold.
 */
export class BlockPair {
  #sequence: number;
  #safe: Copy;
  /** Written and answered since the last flush. */
  #written: Buffer | 'to both' | null = null;
  /** Both copies are empty, or hold what was never flushed. */
  #isFresh: boolean;
  /** The version in the safe copy, which the other one does not have yet. */
  #echo: Buffer | null = null;
  /** Found, but perhaps only in a cache. */
  #isInDoubt: boolean;
  /** What was written over itself since the last flush, to end the doubt. */
  #rewritten: Buffer | 'even' | null = null;
  readonly #isUneven: boolean;

  /** `at`: offset of copy A in the area. The pair is as it was found; never written if that is left out. */
  constructor(
    readonly at: number,
    found: readonly [FoundCopy, FoundCopy] = [NEVER_WRITTEN, NEVER_WRITTEN],
  ) {
    const [a, b] = found;
    this.#sequence = Math.max(a.sequence, b.sequence);
    // Of two empty copies the first is written first; of two damaged ones either may go.
    const isEither = this.#sequence === 0 && a.state === b.state;
    this.#safe = isEither ? 1 : (newestCopy(found) ?? 1);
    this.#isInDoubt = this.#sequence > 0;
    this.#isFresh = a.state === 'empty' && b.state === 'empty';
    this.#isUneven = a.sequence !== b.sequence;
  }

  /** Of a version that is about to be written. Never given twice: a write that failed may have reached the medium. */
  nextSequence(): number {
    this.#sequence += 1;
    return this.#sequence;
  }

  get hasEcho(): boolean {
    return this.#echo !== null;
  }

  /** The copies found are not the same. */
  get isUneven(): boolean {
    return this.#isUneven;
  }

  /**
   * Nobody knows whether the version found is on stable storage: who wrote it may have ended before a flush, or after one
   * that failed, and then no flush of ours makes it so. It must be written over itself, and flushed, before place().
   * Should that tear it, then it was not there, and the other copy is the version that was.
   */
  get isInDoubt(): boolean {
    return this.#isInDoubt;
  }

  /** Where the block is that was found as the newest. */
  get newestAt(): number {
    return this.#safeAt();
  }

  /** The block that was found at newestAt was written there again. Copied. */
  rewritten(block: Buffer): void {
    this.#rewritten = this.#isUneven ? Buffer.from(block) : 'even';
  }

  /** Where a new version is to be written. What was not yet written a second time never will be. Not while in doubt. */
  place(block: Buffer): PlacedBlock {
    assert(!this.#isInDoubt, 'area: a new version while the last one may not be durable');
    this.#echo = null;
    this.#written = null;
    return { at: this.#targetAt(), block };
  }

  /** The block that place() placed was written, not flushed. */
  placed(block: Buffer): void {
    this.#written = block;
  }

  /** Nothing in the pair is to be kept: both copies are empty, or hold what was never flushed. */
  get isFresh(): boolean {
    return this.#isFresh;
  }

  /** Of a fresh pair: both copies of a new version. */
  placeBoth(block: Buffer): readonly PlacedBlock[] {
    assert(this.#isFresh, 'area: both copies at once, over one that counts');
    const { at } = this.place(block);
    return [
      { at, block },
      { at: this.#safeAt(), block },
    ];
  }

  /** The blocks that placeBoth() placed were written, not flushed. */
  placedBoth(): void {
    this.#written = 'to both';
  }

  /** A flush that began after placed() or rewritten() succeeded. */
  flushed(): void {
    if (this.#rewritten !== null) {
      this.#isInDoubt = false;
      if (this.#rewritten !== 'even') this.#echo = this.#rewritten;
      this.#rewritten = null;
    }
    if (this.#written === null) return;
    this.#safe = otherCopy(this.#safe);
    this.#echo = this.#written === 'to both' ? null : this.#written;
    this.#written = null;
    this.#isFresh = false;
  }

  /** The second write of the newest version, null if there is nothing to do. Written once. */
  takeEcho(): PlacedBlock | null {
    const block = this.#echo;
    this.#echo = null;
    return block === null ? null : { at: this.#targetAt(), block };
  }

  #safeAt(): number {
    return this.at + this.#safe * AREA_BLOCK_BYTES;
  }

  #targetAt(): number {
    return this.at + otherCopy(this.#safe) * AREA_BLOCK_BYTES;
  }
}
