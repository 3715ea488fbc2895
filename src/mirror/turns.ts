/** Runs one work after another, in order of call. One that fails keeps the next from nothing. */
export class Turns {
  #last: Promise<unknown> = Promise.resolve();

  /** `afterFailure` ends the turn of a work that failed, before anybody is told. What it rejects with is of no interest. */
  constructor(private readonly afterFailure: (() => Promise<void>) | null = null) {}

  /** Settles as `work` does. */
  run<Result>(work: () => Promise<Result>): Promise<Result> {
    const mine = this.#last.then(this.afterFailure === null ? work : () => this.#attempt(work));
    this.#last = mine.catch(() => undefined);
    return mine;
  }

  async #attempt<Result>(work: () => Promise<Result>): Promise<Result> {
    try {
      return await work();
    } catch (error) {
      await this.afterFailure?.().catch(() => undefined);
      throw error;
    }
  }
}
