/** Runs one work after another, in order of call. One that fails keeps the next from nothing. */
export class Turns {
  #last: Promise<unknown> = Promise.resolve();

  /** Settles as `work` does. */
  run<Result>(work: () => Promise<Result>): Promise<Result> {
    const mine = this.#last.then(work);
    this.#last = mine.catch(() => undefined);
    return mine;
  }
}
