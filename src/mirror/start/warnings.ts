import { markedRuns, rangeOfRun } from '../area/region-runs.js';
import type { Component } from '../component.js';
import type { Mirror } from '../mirror.js';

/** So many places are named; there may be one for each hot extent. */
const PLACES_MAX = 8;

const MIXTURE =
  'it is a mixture of old and new data, because the copy to it had not ended; check what is on it before you rely on it. ' +
  'What it was copied from is a split brain when it comes, and is not overwritten';

/** What a component that is started from may lack, though it reads well; null if nothing. A clause without a subject. */
export function doubtOf({ isCacheDoubtful, missing }: Component): string | null {
  if (!isCacheDoubtful) return null;
  const places: string[] = [];
  let rest = '';
  for (const run of markedRuns(missing)) {
    if (places.length === PLACES_MAX) {
      rest = ' and more';
      break;
    }
    const { offsetBytes, lengthBytes } = rangeOfRun(run, missing.mediaSizeBytes);
    places.push(`${offsetBytes} to ${offsetBytes + lengthBytes - 1}`);
  }
  const where =
    places.length === 0
      ? 'nobody knows where'
      : `at most ${missing.markedBytes} bytes, ${places.join(', ')}${rest}`;
  return `may have lost what was written to it last, because a flush of it failed: ${where}`;
}

/** What is said of the source of a mirror that has just begun, in the log and for as long as it is as it is. */
export function warnOfSource(mirror: Mirror, source: Component, isMixture: boolean): void {
  const doubt = doubtOf(source);
  if (doubt !== null)
    warn(mirror, source, 'doubtful', `it ${doubt}; it is written anew from another component`);
  if (isMixture) warn(mirror, source, 'mixture', MIXTURE);
}

function warn({ options }: Mirror, component: Component, what: string, why: string): void {
  component.trouble = why;
  options.events.changed(what, component, why);
}
