import { expect, test } from 'vitest';
import { plantLateWrites } from '../../sim/late-writes.js';
import { planOf, WIRES } from '../../sim/plan.js';
import { simulate } from '../../sim/simulation.js';
import { simulateSplitBrain, SPLITS } from '../../sim/split-brain.js';

const SEEDS_MAX = 12;

const LIVES = [
  ...WIRES.map((wire) => ({
    what: `a life over ${wire}`,
    live: async (seed: number) => (await simulate(planOf(seed, wire))).failure,
  })),
  ...SPLITS.map((split) => ({
    what: `a split brain (${split})`,
    live: async (seed: number) => await simulateSplitBrain({ seed, split, wire: 'queue' }),
  })),
];

test.each(LIVES)(
  'an old write that is put over a newer one is noticed where it happens, in $what',
  async ({ live }) => {
    const remove = plantLateWrites();
    let found: Error | null = null;
    try {
      for (let seed = 1; found === null && seed <= SEEDS_MAX; seed++) {
        const failure = await live(seed);
        if (failure !== null && /is put over .*which is newer/.test(failure.message)) found = failure;
      }
    } finally {
      remove();
    }
    expect(found).not.toBeNull();
  },
);
