import type { Way } from '../life.js';
import { PLAIN_BUG } from '../plain.js';
import { DECISIONS } from './decisions.js';
import { MEMORY } from './memory.js';
import type { Mistake } from './mistake.js';
import { FOUND_BY_HAND, ONCE_MADE } from './once-made.js';
import { REQUESTS } from './requests.js';
import { RESYNCS } from './resyncs.js';
import { SESSIONS } from './sessions.js';

export interface Planted extends Mistake {
  readonly way: Way;
}

/** Every mistake that a life of some kind must find. */
export const PLANTED: readonly Planted[] = [
  ...[...MEMORY, ...RESYNCS, ...REQUESTS, ...DECISIONS, ...ONCE_MADE, PLAIN_BUG].map((one) => ({
    way: { wire: 'queue' } as const,
    ...one,
  })),
  ...SESSIONS.map((one) => ({ way: { wire: 'alone' } as const, ...one })),
];

/** The one of that name. */
export function planted(name: string): Planted {
  const found = PLANTED.find((one) => one.name === name);
  if (found === undefined) throw new Error(`no planted mistake is called ${name}`);
  return found;
}

/** As planted(), of those that test/sim/by-hand.test.ts finds. */
export function plantedByHand(name: string): Mistake {
  const found = FOUND_BY_HAND.find((one) => one.name === name);
  if (found === undefined) throw new Error(`no planted mistake is called ${name}`);
  return found;
}
