import type { RandomSource } from '../src/device/random.js';

const MODULUS = 2_147_483_647;

/** Chance that a seed repeats: Park and Miller's generator. Each part of a world has a fork of its own. */
export class Chance implements RandomSource {
  #state: number;

  constructor(private readonly seed: number) {
    this.#state = 1 + (Math.abs(seed) % (MODULUS - 1));
    // The first numbers of neighbouring seeds are alike.
    for (let drawn = 0; drawn < 4; drawn++) this.below(2);
  }

  /** A generator that depends on this one's seed and on `name`, and not on what was drawn. */
  fork(name: string): Chance {
    let hash = this.seed % MODULUS;
    for (const letter of name) hash = (hash * 31 + (letter.codePointAt(0) ?? 0) + 17) % MODULUS;
    return new Chance((hash * 48_271) % MODULUS);
  }

  /** From 0 to just below 1. */
  part(): number {
    this.#state = (this.#state * 48_271) % MODULUS;
    return this.#state / MODULUS;
  }

  /** An integer from 0 to `end` - 1. */
  below(end: number): number {
    return Math.floor(this.part() * end);
  }

  /** An integer from `first` to `last`. */
  between(first: number, last: number): number {
    return first + this.below(last - first + 1);
  }

  happens(probability: number): boolean {
    return this.part() < probability;
  }

  pick<Item>(items: readonly Item[]): Item {
    const item = items[this.below(items.length)];
    if (item === undefined) throw new Error('nothing to pick from');
    return item;
  }

  /** Mostly near `meanMs`, at times several times as much. */
  delayMs(meanMs: number): number {
    return -Math.log(1 - this.part()) * meanMs;
  }

  nextU32(): number {
    return this.below(2 ** 32);
  }

  nextBytes(lengthBytes: number): Buffer {
    return Buffer.from(Array.from({ length: lengthBytes }, () => this.below(256)));
  }
}
