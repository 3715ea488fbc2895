import { describe, expect, test } from 'vitest';
import { type Plan, type WireKind, planOf } from '../../sim/plan.js';
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

test('a component whose host lost its power while nothing was asked of it is not read from', async () => {
  const { settings, ...rest } = planOf(1, 'sessions');
  const range = { firstSector: 100, sectorCount: 16 };
  const steps: Plan['steps'] = [
    { atMs: 1000, step: { kind: 'io', op: 'write', ...range } },
    // The client hears of the first end, and comes back after the second one.
    { atMs: 1500, step: { kind: 'server', host: 1 } },
    {
      atMs: 1560,
      step: { kind: 'power', host: 1, offMs: 20, restart: { host: 0, afterMs: 0, patienceMs: 0 } },
    },
    ...numbers(20).map(
      (index) => ({ atMs: 2500 + index * 10, step: { kind: 'io', op: 'read', ...range } }) as const,
    ),
  ];
  for (const seed of numbers(5)) {
    const plan: Plan = {
      ...{ ...rest, seed, steps, componentCount: 2 },
      settings: { ...settings, balance: 'round-robin', idleMs: 5000, timeoutMs: 3000 },
    };
    expect((await simulate(plan)).failure).toBeNull();
  }
});
