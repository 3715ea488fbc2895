import { expect, test } from 'vitest';
import { BUGS } from '../../sim/bugs.js';
import { planOf } from '../../sim/plan.js';
import { simulate } from '../../sim/simulation.js';

/** Most are found in the first life, all in fewer than half of these. */
const SEEDS_MAX = 60;

test.each(BUGS)('the simulator finds it when $name', { timeout: 300_000 }, async (bug) => {
  const remove = bug.plant();
  try {
    let failure: Error | null = null;
    const seeds = [...(bug.seeds ?? []), ...Array.from({ length: SEEDS_MAX }, (_, index) => index + 1)];
    for (const seed of seeds) {
      ({ failure } = await simulate(planOf(seed)));
      if (failure !== null) break;
    }
    expect(failure).not.toBeNull();
  } finally {
    remove();
  }
});
