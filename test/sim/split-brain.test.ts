import { afterEach, expect, test, vi } from 'vitest';
import { planted } from '../../sim/planted/all.js';
import { simulateSplitBrain } from '../../sim/split-brain.js';
import { Generations } from '../../src/mirror/journal/generations.js';

const LIVES = [
  { split: 'both', wire: 'queue', count: 20 },
  { split: 'both', wire: 'sessions', count: 6 },
  { split: 'forced', wire: 'queue', count: 8 },
  { split: 'forced', wire: 'sessions', count: 4 },
] as const;
type Lives = Pick<(typeof LIVES)[number], 'split' | 'wire'> & { readonly count: number };

async function broken({ count, ...how }: Lives): Promise<string[]> {
  const found: string[] = [];
  for (let seed = 1; seed <= count; seed++) {
    const failure = await simulateSplitBrain({ seed, ...how });
    if (failure !== null) found.push(`${seed}: ${failure.message}`);
  }
  return found;
}

afterEach(() => vi.restoreAllMocks());

test.each(LIVES)(
  'two sides that went their own ways are found out, left alone, and settled as a person says ($split, $wire)',
  async (lives) => {
    expect(await broken(lives)).toEqual([]);
  },
);

test('a mirror that begins no new generations would not be let through', async () => {
  vi.spyOn(Generations.prototype, 'moveOn').mockReturnValue(undefined);
  expect(await broken({ split: 'both', wire: 'queue', count: 20 })).not.toEqual([]);
});

test.each([
  {
    // The label says it, too.
    names: ['the target of a resync does not say that it is INCONSISTENT', 'labels are not written'],
    split: 'forced',
  },
  { names: ['bitmaps are not looked at when the mirror starts'], split: 'both' },
] as const)('it would be found if $names', async ({ names, split }) => {
  const removals = names.map((name) => planted(name).plant());
  try {
    expect(await broken({ split, wire: 'queue', count: 6 })).not.toEqual([]);
  } finally {
    for (const remove of removals) remove();
  }
});
