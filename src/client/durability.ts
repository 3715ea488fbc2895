/**
 * What may be lost when the server's host restarts: writes that were acknowledged and are covered by no good flush.
 * Counts only; a write's place in the count is when its acknowledgement came.
 */
export class Durability {
  #acknowledgedWrites = 0;
  #flushedWrites = 0;
  #hasUnreportedLoss = false;

  /** Remember it with a flush that is sent now: the flush covers exactly these. */
  get acknowledgedWrites(): number {
    return this.#acknowledgedWrites;
  }

  get hasUnflushed(): boolean {
    return this.#acknowledgedWrites > this.#flushedWrites;
  }

  /** Whether the next flush has to fail, because it can't cover what it should. */
  get hasUnreportedLoss(): boolean {
    return this.#hasUnreportedLoss;
  }

  acknowledged(): void {
    this.#acknowledgedWrites += 1;
  }

  flushed(coveredWrites: number): void {
    this.#flushedWrites = Math.max(this.#flushedWrites, coveredWrites);
  }

  /** The host restarted, or nobody knows that it did not. */
  restarted(): void {
    if (this.hasUnflushed) this.#hasUnreportedLoss = true;
  }

  /** A flush has failed for it: who asked knows now, and what was lost is no longer waited for. */
  reported(): void {
    this.#hasUnreportedLoss = false;
    this.#flushedWrites = this.#acknowledgedWrites;
  }
}
