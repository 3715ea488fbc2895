import type { RandomSource } from '../../device/random.js';

/** Block number, version and the run's seed, at both ends of a block, so that a block written in part shows. */
const STAMP = { seedAt: 0, versionAt: 4, indexAt: 8, sizeBytes: 16 } as const;
/** A prime: neighbouring versions and blocks start at different bytes of the noise. */
const SHIFTS = 4093;

/**
 * Self-describing block contents: a function of block number and version, never the same for two versions in a row.
 * The body is a slice of one piece of noise, so that making and checking a block costs a memory copy each.
 */
export class Pattern {
  readonly #noise: Buffer;
  readonly #seed: number;
  readonly #stamp = Buffer.alloc(STAMP.sizeBytes);

  /** `blockBytes` is at least 512. */
  constructor(
    private readonly blockBytes: number,
    random: RandomSource,
  ) {
    this.#noise = random.nextBytes(blockBytes + SHIFTS);
    this.#seed = random.nextU32();
  }

  fill(block: Buffer, index: number, version: number): void {
    const shift = this.#shiftOf(index, version);
    this.#noise.copy(block, 0, shift, shift + this.blockBytes);
    this.#makeStamp(index, version);
    this.#stamp.copy(block, 0);
    this.#stamp.copy(block, this.blockBytes - STAMP.sizeBytes);
  }

  isIntact(block: Buffer, index: number, version: number): boolean {
    const size = STAMP.sizeBytes;
    const end = this.blockBytes - size;
    const shift = this.#shiftOf(index, version);
    this.#makeStamp(index, version);
    return (
      this.#stamp.compare(block, 0, size) === 0 &&
      this.#stamp.compare(block, end, end + size) === 0 &&
      this.#noise.compare(block, size, end, shift + size, shift + end) === 0
    );
  }

  /** What a block that isn't intact seems to hold, for a person. */
  describe(block: Buffer): string {
    const head = this.#describeStamp(block, 0);
    const tail = this.#describeStamp(block, this.blockBytes - STAMP.sizeBytes);
    return head === tail ? head : `${head} at its start, ${tail} at its end`;
  }

  #describeStamp(block: Buffer, at: number): string {
    if (block.readUInt32BE(at + STAMP.seedAt) !== this.#seed) return 'data that this run did not write';
    const index = block.readDoubleBE(at + STAMP.indexAt);
    return `version ${block.readUInt32BE(at + STAMP.versionAt)} of block ${index}`;
  }

  #makeStamp(index: number, version: number): void {
    this.#stamp.writeUInt32BE(this.#seed, STAMP.seedAt);
    this.#stamp.writeUInt32BE(version, STAMP.versionAt);
    this.#stamp.writeDoubleBE(index, STAMP.indexAt);
  }

  #shiftOf(index: number, version: number): number {
    return (index * 31 + version * 257) % SHIFTS;
  }
}
