import { expect, test } from 'vitest';
import { BUGS } from '../../sim/bugs.js';
import { planOf } from '../../sim/plan.js';
import { simulate } from '../../sim/simulation.js';

/** Most are found in the first life, all in fewer than half of these. */
const SEEDS_MAX = 60;

test.each(BUGS)('the simulator finds it when $name', async (bug) => {
  const seeds = [...(bug.seeds ?? []), ...Array.from({ length: SEEDS_MAX }, (_, index) => index + 1)];
  let found: number | null = null;
  let said = '';
  const remove = bug.plant();
  try {
    for (const seed of seeds) {
      const { failure } = await simulate(planOf(seed));
      if (failure === null) continue;
      [found, said] = [seed, failure.message];
      break;
    }
  } finally {
    remove();
  }
  expect(found).not.toBeNull();
  expect(said).toMatch(bug.saying ?? /./);
  // It is the mistake that was found, and nothing else.
  expect((await simulate(planOf(found ?? 0))).failure).toBeNull();
});
