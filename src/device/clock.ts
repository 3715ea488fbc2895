/** A pending call of `Clock.after`. */
export interface Timer {
  cancel(): void;
}

/** Time is given, not taken, so that tests can run it. Milliseconds; `nowMs` is monotonic and has no epoch. */
export interface Clock {
  nowMs(): number;
  after(delayMs: number, run: () => void): Timer;
}

/**
 * A timer that rings later than that after its time has been held up: this program stood still, stopped, without a
 * processor or suspended with its machine. What is less is a busy program.
 */
export const HELD_UP_MS = 500;

/** Resolves after that. Nobody can cut it short. */
export const delay = (clock: Clock, delayMs: number): Promise<void> =>
  new Promise((resolve) => void clock.after(delayMs, resolve));

/** Waits for `work`, but not longer than `timeoutMs`; says whether it was done in time. Rejects as `work` does. */
export function doneWithin(work: Promise<unknown>, timeoutMs: number, clock: Clock): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const timer = clock.after(timeoutMs, () => resolve(false));
    work.then(
      () => {
        timer.cancel();
        resolve(true);
      },
      (error: unknown) => {
        timer.cancel();
        reject(error instanceof Error ? error : new Error(String(error)));
      },
    );
  });
}

export const systemClock: Clock = {
  nowMs: () => performance.now(),
  after(delayMs, run) {
    const handle = setTimeout(run, delayMs);
    return { cancel: () => clearTimeout(handle) };
  },
};
