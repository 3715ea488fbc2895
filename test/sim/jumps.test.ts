import { describe, expect, test } from 'vitest';
import { CLOCK_BUG, jumpPlanOf } from '../../sim/jumps.js';
import { simulate } from '../../sim/simulation.js';

const SEEDS = [1, 2, 3];

describe.each(['queue', 'sessions'] as const)('clocks that jump (%s)', (wire) => {
  const problems = async (): Promise<string[]> => {
    const found: string[] = [];
    for (const seed of SEEDS) {
      const { failure } = await simulate(jumpPlanOf(seed, wire));
      if (failure !== null) found.push(`life ${seed}: ${failure.message}`);
    }
    return found;
  };

  test('change nothing: no component is given up, and every promise holds', async () => {
    expect(await problems()).toEqual([]);
  });

  test(`it is found when ${CLOCK_BUG.name}`, async () => {
    const remove = CLOCK_BUG.plant();
    try {
      expect((await problems()).join()).toContain('is given up for nothing');
    } finally {
      remove();
    }
  });
});
