import { afterEach, expect, test, vi } from 'vitest';
import { simulateSplitBrain } from '../../sim/split-brain.js';
import { Generations } from '../../src/mirror/journal/generations.js';

const SEEDS = Array.from({ length: 20 }, (_, index) => index + 1);

async function broken(): Promise<string[]> {
  const found: string[] = [];
  for (const seed of SEEDS) {
    const failure = await simulateSplitBrain(seed);
    if (failure !== null) found.push(`${seed}: ${failure.message}`);
  }
  return found;
}

afterEach(() => vi.restoreAllMocks());

test('two sides that were both started and written are found out, left alone, and settled as a person says', async () => {
  expect(await broken()).toEqual([]);
});

test('a mirror that begins no new generations would not be let through', async () => {
  vi.spyOn(Generations.prototype, 'moveOn').mockReturnValue(undefined);
  expect(await broken()).not.toEqual([]);
});
