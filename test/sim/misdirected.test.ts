import { expect, test } from 'vitest';
import { planOf } from '../../sim/plan.js';
import { simulate } from '../../sim/simulation.js';

/** Lives in which reads of private areas get a block from another place. */
const seeds = Array.from({ length: 200 }, (_, index) => index + 1)
  .filter((seed) => planOf(seed).steps.some(({ step }) => step.kind === 'misdirect'))
  .slice(0, 4);

test('a read of a private area that gets a block from another place harms nobody', async () => {
  let misdirected = 0;
  for (const seed of seeds) {
    const { failure } = await simulate(planOf(seed), (line) => {
      if (line.includes('is misdirected')) misdirected += 1;
    });
    expect(failure).toBeNull();
  }
  expect(misdirected).toBeGreaterThan(3);
});
