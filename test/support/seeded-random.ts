/** Chance that a seed repeats: Park and Miller's generator. */
export class SeededRandom {
  #state: number;

  constructor(seed: number) {
    this.#state = 1 + (Math.abs(seed) % 2_147_483_646);
    this.below(2);
  }

  /** An integer from 0 to `end` - 1. */
  below(end: number): number {
    this.#state = (this.#state * 48_271) % 2_147_483_647;
    return Math.floor((this.#state / 2_147_483_647) * end);
  }

  chance(part: number): boolean {
    return this.below(1_000_000) < part * 1_000_000;
  }

  pick<Item>(items: readonly Item[]): Item {
    const item = items[this.below(items.length)];
    if (item === undefined) throw new Error('nothing to pick from');
    return item;
  }

  bytes(lengthBytes: number): Buffer {
    return Buffer.from(Array.from({ length: lengthBytes }, () => this.below(256)));
  }
}
