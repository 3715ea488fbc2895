import { readFileSync } from 'node:fs';

/** Of one thread since it began, in nanoseconds. */
export interface ThreadTimes {
  /** On a processor. */
  readonly ranNs: number;
  /** Ready to run, while others had the processors. */
  readonly waitedNs: number;
}

/**
 * Those of the calling thread, or null where the system does not tell; only Linux does. Source: Linux,
 * Documentation/scheduler/sched-stats.rst, /proc/<pid>/schedstat.
 */
export function threadTimes(): ThreadTimes | null {
  let text: string;
  try {
    text = readFileSync('/proc/thread-self/schedstat', 'latin1');
  } catch {
    return null;
  }
  const [ranNs, waitedNs] = text.split(' ', 2).map(Number);
  if (ranNs === undefined || waitedNs === undefined || !Number.isFinite(ranNs + waitedNs)) return null;
  return { ranNs, waitedNs };
}
