import { LivedClock } from '../src/device/lived-clock.js';
import { type Mistake, patch } from './planted/mistake.js';
import { Chance } from './chance.js';
import { planOf, type Plan, type WireKind } from './plan.js';
import type { PlannedStep } from './steps.js';

const LIFE_MS = 40_000;
/** Several requests of ten take longer than a mirror's look around, and none as long as its time-out. */
const SLOW_MS = 300;
const TIMEOUT_MS = 20_000;

/** A life in which a disk is slow and clocks jump, and nothing else happens: nobody is given up for that. */
export function jumpPlanOf(seed: number, wire: WireKind): Plan {
  const { settings, ...rest } = planOf(seed, wire);
  const chance = new Chance(seed).fork('peaceful jumps');
  const steps: PlannedStep[] = [
    { atMs: 100, step: { kind: 'slow', host: 1, latencyMs: SLOW_MS, forMs: LIFE_MS } },
  ];
  for (let atMs = 200; atMs < LIFE_MS; atMs += chance.delayMs(150)) {
    const range = { firstSector: chance.below(2000), sectorCount: chance.between(1, 64) };
    const op = chance.pick(['write', 'write', 'read', 'flush'] as const);
    steps.push({ atMs, step: { kind: 'io', op, ...range } });
  }
  for (let atMs = 2000; atMs < LIFE_MS; atMs += chance.delayMs(2500)) {
    const byMs = chance.pick([3000, 60_000, 3_600_000]);
    steps.push({ atMs, step: { kind: 'jump', host: chance.below(2), byMs } });
  }
  steps.sort((one, other) => one.atMs - other.atMs);
  return {
    ...{ ...rest, steps, componentCount: 2, isPeaceful: true },
    settings: { ...settings, timeoutMs: TIMEOUT_MS },
  };
}

/** What such a life must show. */
export const CLOCK_BUG: Mistake = {
  name: 'time in which the program stood still counts as silence of a component',
  plant: () =>
    patch(LivedClock.prototype, {
      nowMs(this: LivedClock) {
        return (this as unknown as { clock: LivedClock }).clock.nowMs();
      },
    }),
};
