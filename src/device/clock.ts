/** A pending call of `Clock.after`. */
export interface Timer {
  cancel(): void;
}

/** Time is given, not taken, so that tests can run it. Milliseconds; `nowMs` is monotonic and has no epoch. */
export interface Clock {
  nowMs(): number;
  after(delayMs: number, run: () => void): Timer;
}

/** Resolves after that. Nobody can cut it short. */
export const delay = (clock: Clock, delayMs: number): Promise<void> =>
  new Promise((resolve) => void clock.after(delayMs, resolve));

export const systemClock: Clock = {
  nowMs: () => performance.now(),
  after(delayMs, run) {
    const handle = setTimeout(run, delayMs);
    return { cancel: () => clearTimeout(handle) };
  },
};
