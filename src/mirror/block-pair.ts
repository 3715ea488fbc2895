import { AREA_BLOCK_BYTES } from '../protocol/area-block.js';
import { otherCopy, type Copy } from '../protocol/area-layout.js';
import type { PlacedBlock } from './area-io.js';

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
 * Invariant: the copy `#safe` holds the newest version that is known to be on stable storage, and is not written to;
 * `#written` and `#echo` are what the other copy holds, or is to hold.
 */
export class BlockPair {
  #sequence: number;
  #safe: Copy;
  /** Written and answered since the last flush. */
  #written: Buffer | null = null;
  /** The version in the safe copy, which the other one does not have yet. */
  #echo: Buffer | null = null;

  /**
   * `at`: offset of copy A in the area. The pair is as it was found, and that is on stable storage. `newest` is the block
   * of newestCopy(), kept if the other copy is to become the same.
   */
  constructor(
    private readonly at: number,
    found: readonly [FoundCopy, FoundCopy] = [NEVER_WRITTEN, NEVER_WRITTEN],
    newest: Buffer | null = null,
  ) {
    const [a, b] = found;
    this.#sequence = Math.max(a.sequence, b.sequence);
    // Of two empty copies the first is written first; of two damaged ones either may go.
    const isEither = this.#sequence === 0 && a.state === b.state;
    this.#safe = isEither ? 1 : (newestCopy(found) ?? 1);
    if (this.#sequence > 0 && a.sequence !== b.sequence) this.#echo = newest;
  }

  /** Of a version that is about to be written. Never given twice: a write that failed may have reached the medium. */
  nextSequence(): number {
    this.#sequence += 1;
    return this.#sequence;
  }

  get hasEcho(): boolean {
    return this.#echo !== null;
  }

  /** Where a new version is to be written. What was not yet written a second time never will be. */
  place(block: Buffer): PlacedBlock {
    this.#echo = null;
    this.#written = null;
    return { at: this.#targetAt(), block };
  }

  /** The block that place() placed was written, not flushed. */
  placed(block: Buffer): void {
    this.#written = block;
  }

  /** A flush that began after placed() succeeded. */
  flushed(): void {
    if (this.#written === null) return;
    this.#safe = otherCopy(this.#safe);
    this.#echo = this.#written;
    this.#written = null;
  }

  /** A flush failed: nobody knows whether what was written is there, and no later flush will tell. */
  flushFailed(): void {
    this.#written = null;
  }

  /** The second write of the newest version, null if there is nothing to do. Written once. */
  takeEcho(): PlacedBlock | null {
    const block = this.#echo;
    this.#echo = null;
    return block === null ? null : { at: this.#targetAt(), block };
  }

  #targetAt(): number {
    return this.at + otherCopy(this.#safe) * AREA_BLOCK_BYTES;
  }
}
