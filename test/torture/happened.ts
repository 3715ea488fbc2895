import { existsSync, readFileSync } from 'node:fs';

/** How often something has happened; what should have and did not stands there with 0. */
export type Happened = Readonly<Record<string, number>>;

/**
 * What troubles are for, as a mirror's log tells it. That a component was silent shows that cables were cut and programs
 * stopped for longer than a time-out.
 */
const CONSEQUENCES = {
  'component lost': /provider \S+ disconnected\./g,
  'silent component lost': /is unanswered after|is silent/g,
  'resync ended': /rebuilding provider \S+ finished\./g,
} as const;

/** What of it a log tells; nothing of a log that was never begun. */
export function consequencesIn(logPath: string): Happened {
  const said = existsSync(logPath) ? readFileSync(logPath, 'utf8') : '';
  const counts = Object.entries(CONSEQUENCES).map(([what, pattern]) => [
    what,
    [...said.matchAll(pattern)].length,
  ]);
  return Object.fromEntries(counts) as Happened;
}

/** Both together. */
export function sumOf(one: Happened, other: Happened): Happened {
  const sum: Record<string, number> = { ...one };
  for (const [what, count] of Object.entries(other)) sum[what] = (sum[what] ?? 0) + count;
  return sum;
}

/** What never happened. */
export const missingIn = (happened: Happened): string[] =>
  Object.entries(happened)
    .filter(([, count]) => count === 0)
    .map(([what]) => what);

/** As it is printed. */
export function inWords(happened: Happened): string {
  const all = Object.entries(happened).sort(([one], [other]) => one.localeCompare(other));
  return all.map(([what, count]) => `${count} x ${what}`).join(', ');
}
