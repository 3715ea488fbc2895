// Skipped until it is found out which planted mistake makes a run loop for ever.
import { expect, test } from 'vitest';
import { BUGS } from '../../sim/bugs.js';
import { planOf } from '../../sim/plan.js';
import { simulate } from '../../sim/simulation.js';

const SEEDS_MAX = 10;

test.skip.each(BUGS)('the simulator finds it when $name', { timeout: 120_000 }, async (bug) => {
  const remove = bug.plant();
  try {
    let failure: Error | null = null;
    for (let seed = 1; failure === null && seed <= SEEDS_MAX; seed++)
      failure = (await simulate(planOf(seed))).failure;
    expect(failure).not.toBeNull();
  } finally {
    remove();
  }
});
