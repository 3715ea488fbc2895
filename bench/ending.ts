/**
 * A benchmark that is told to end by a signal: whatever it runs at the moment is ended, and what it has started is stopped
 * as at its usual end. A mirror's daemon would otherwise stay behind, in a session of its own where no Ctrl-C reaches it.
 */
const ending = new AbortController();

export function endOnSignals(): void {
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.once(name, () => ending.abort(new Error(`ended by ${name}`)));
}

/** Aborted when a signal has come; the reason is an Error that says so. */
export const endingSignal = ending.signal;
