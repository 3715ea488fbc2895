import { expect, test } from 'vitest';
import { live } from '../../sim/life.js';
import { PLANTED } from '../../sim/planted/all.js';

/** Most are found in the first life, all in a few: so many are lived only where a change made it harder to find. */
const SEEDS_MAX = 100;

test.each(PLANTED)('the simulator finds it when $name', async ({ way, saying = /./, plant }) => {
  let found: number | null = null;
  let said = '';
  const remove = plant();
  try {
    for (const seed of Array.from({ length: SEEDS_MAX }, (_, index) => index + 1)) {
      const { failure } = await live({ ...way, seed });
      if (failure === null) continue;
      [found, said] = [seed, failure.message];
      break;
    }
  } finally {
    remove();
  }
  expect(found).not.toBeNull();
  expect(said).toMatch(saying);
  // It is the mistake that was found, and nothing else.
  expect((await live({ ...way, seed: found ?? 0 })).failure).toBeNull();
});

test('names of planted mistakes can be told apart, and be given to a shell in double quotes', () => {
  const names = PLANTED.map(({ name }) => name);
  expect(new Set(names).size).toBe(names.length);
  for (const name of names) expect(name).not.toMatch(/["\\$`!]/);
});
