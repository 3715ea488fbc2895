import { describe, expect, test } from 'vitest';
import { planOf } from '../../sim/plan.js';
import { simulate } from '../../sim/simulation.js';

const SEEDS = [1, 2, 3, 16];

describe.each(['queue', 'sessions'] as const)('a component that can not flush (%s)', (wire) => {
  const problems = async (): Promise<string[]> => {
    const found: string[] = [];
    for (const seed of SEEDS) {
      const { failure } = await simulate(planOf(seed, wire, { plain: true }));
      if (failure !== null)
        found.push(`${failure.message}; npm run sim -- --plain --seed ${seed} --wire ${wire}`);
    }
    return found;
  };

  test('loses what it was sent with its host’s power, and every promise holds', async () => {
    expect(await problems()).toEqual([]);
  });
});
