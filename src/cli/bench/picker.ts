/** Park and Miller's "minimal standard" generator: exact in doubles, and a number costs one multiplication. */
const MULTIPLIER = 48_271;
const MODULUS = 2 ** 31 - 1;

export interface PickerOptions {
  /** At most 2^31 - 2 for random order. */
  readonly blockCount: number;
  readonly isSequential: boolean;
  /** Whether a block is handed out only once at a time; each then has to be released. */
  readonly isExclusive: boolean;
  /** Any unsigned 32-bit number. The same seed picks the same blocks. */
  readonly seed: number;
}

/** Decides which block comes next. */
export class BlockPicker {
  #state: number;
  #nextIndex = 0;
  /** 1 for a block that is handed out; empty when not exclusive. */
  readonly #taken: Uint8Array;

  constructor(private readonly options: PickerOptions) {
    this.#state = (options.seed % (MODULUS - 1)) + 1;
    this.#taken = new Uint8Array(options.isExclusive ? options.blockCount : 0);
  }

  /** With exclusive picking there must be more blocks than are ever taken at a time. */
  take(): number {
    const { isSequential, isExclusive, blockCount } = this.options;
    let index = isSequential ? this.#nextIndex : this.#random(blockCount);
    if (isExclusive) {
      while (this.#taken[index] === 1) index = index + 1 === blockCount ? 0 : index + 1;
      this.#taken[index] = 1;
    }
    this.#nextIndex = index + 1 === blockCount ? 0 : index + 1;
    return index;
  }

  release(index: number): void {
    this.#taken[index] = 0;
  }

  coin(): boolean {
    return this.#random(2) === 1;
  }

  #random(count: number): number {
    this.#state = (this.#state * MULTIPLIER) % MODULUS;
    return Math.floor((this.#state / MODULUS) * count);
  }
}
