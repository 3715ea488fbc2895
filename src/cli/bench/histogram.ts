/** Buckets for each doubling: a percentile is at most 2.2 % above the true value. */
const BUCKETS_PER_DOUBLING = 32;
/** From one microsecond up to 2^34 of them, more than four hours. */
const DOUBLINGS = 34;
const BUCKET_COUNT = BUCKETS_PER_DOUBLING * DOUBLINGS;

/**
 * Counts durations in logarithmic buckets, so that memory and the cost of a record are the same for ten operations and
 * for ten thousand million.
 */
export class Histogram {
  readonly #counts = new Float64Array(BUCKET_COUNT);
  #count = 0;
  #maxMs = 0;
  #sumMs = 0;

  record(durationMs: number): void {
    const micros = durationMs * 1000;
    const index = micros <= 1 ? 0 : Math.floor(Math.log2(micros) * BUCKETS_PER_DOUBLING);
    const bucket = index < BUCKET_COUNT ? index : BUCKET_COUNT - 1;
    this.#counts[bucket] = (this.#counts[bucket] ?? 0) + 1;
    this.#count += 1;
    this.#sumMs += durationMs;
    if (durationMs > this.#maxMs) this.#maxMs = durationMs;
  }

  get count(): number {
    return this.#count;
  }

  get maxMs(): number {
    return this.#maxMs;
  }

  get meanMs(): number {
    return this.#count === 0 ? 0 : this.#sumMs / this.#count;
  }

  /** The duration that `share` (0 to 1) of all records don't exceed, rounded up to its bucket's end; 0 without records. */
  percentileMs(share: number): number {
    const rank = Math.max(1, Math.ceil(share * this.#count));
    let seen = 0;
    for (let index = 0; index < BUCKET_COUNT; index++) {
      seen += this.#counts[index] ?? 0;
      if (seen >= rank) return Math.min(this.#maxMs, 2 ** ((index + 1) / BUCKETS_PER_DOUBLING) / 1000);
    }
    return this.#maxMs;
  }
}
