import type { Clock } from '../../device/clock.js';

/** Waits for `work`, but not longer than `timeoutMs`; says whether it was done in time. Rejects as `work` does. */
export async function within(work: Promise<unknown>, timeoutMs: number, clock: Clock): Promise<boolean> {
  return await new Promise<boolean>((resolve, reject) => {
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
