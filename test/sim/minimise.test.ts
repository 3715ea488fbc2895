import { expect, test } from 'vitest';
import { minimise } from '../../sim/minimise.js';
import { planOf } from '../../sim/plan.js';
import { planted } from '../../sim/planted/all.js';
import { simulate } from '../../sim/simulation.js';

const SEEDS_MAX = 60;

test('what a seed breaks a promise without is left out of it, and it breaks one still', async () => {
  const remove = planted('the activity log is not committed').plant();
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
    expect.unreachable(`no seed up to ${SEEDS_MAX} finds it`);
  } finally {
    remove();
  }
});
