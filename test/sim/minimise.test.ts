import { expect, test } from 'vitest';
import { BUGS } from '../../sim/bugs.js';
import { minimise } from '../../sim/minimise.js';
import { planOf } from '../../sim/plan.js';
import { simulate } from '../../sim/simulation.js';

/** The first one finds it in the first life, as yet. */
const SEEDS_MAX = 60;

test('what a seed breaks a promise without is left out of it, and it breaks one still', async () => {
  const [bug] = BUGS;
  const remove = bug?.plant();
  try {
    for (let seed = 1; seed <= SEEDS_MAX; seed++) {
      const plan = planOf(seed);
      if ((await simulate(plan)).failure === null) continue;
      const fewer = await minimise(plan);
      expect(fewer.steps.length).toBeLessThan(plan.steps.length);
      expect(plan.steps.filter((step) => fewer.steps.includes(step))).toEqual(fewer.steps);
      expect((await simulate(fewer)).failure).not.toBeNull();
      return;
    }
    expect.unreachable(`no seed up to ${SEEDS_MAX} finds ${bug?.name ?? 'a bug'}`);
  } finally {
    remove?.();
  }
});
