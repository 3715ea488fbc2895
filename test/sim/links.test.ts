import { describe, expect, test } from 'vitest';
import { type WireKind, planOf } from '../../sim/plan.js';
import { simulate } from '../../sim/simulation.js';

const numbers = (count: number): number[] => Array.from({ length: count }, (_, index) => index + 1);

/** With each wire: so many lives, and those that found bugs (docs/simulator.md). */
const LIVES: readonly { wire: WireKind; what: string; seeds: readonly number[] }[] = [
  {
    wire: 'sessions',
    what: 'a mirror over real clients and sessions',
    seeds: [...numbers(12), 103, 162, 212],
  },
  { wire: 'alone', what: 'a client and a server without a mirror', seeds: [...numbers(30), 57, 162] },
];

/** What is wrong with these lives. */
async function problemsOf(seeds: readonly number[], wire: WireKind): Promise<string[]> {
  const broken: string[] = [];
  for (const seed of seeds) {
    const { failure } = await simulate(planOf(seed, wire));
    if (failure !== null)
      broken.push(`${failure.message}; replay: npm run sim -- --seed ${seed} --wire ${wire} --trace`);
  }
  return broken;
}

describe.each(LIVES)('$what, simulated', ({ wire, seeds }) => {
  test('keeps every promise', async () => {
    expect(await problemsOf(seeds, wire)).toEqual([]);
  });

  test('repeats itself event by event', async () => {
    const traceOf = async (): Promise<string[]> => {
      const lines: string[] = [];
      await simulate(planOf(3, wire), (line) => lines.push(line));
      return lines;
    };
    const first = await traceOf();
    expect(first.length).toBeGreaterThan(100);
    expect(await traceOf()).toEqual(first);
  });
});
