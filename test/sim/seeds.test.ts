import { expect, test } from 'vitest';
import { planOf } from '../../sim/plan.js';
import { simulate } from '../../sim/simulation.js';

/** Each is a minute and more of a mirror's life, with crashes, cuts and faults. */
const SEEDS = 30;
/** They found bugs (docs/simulator.md), and must not find them again. */
const FOUND_BUGS = [37, 86, 100, 111, 150, 154, 205, 1023, 1235, 2092, 2160, 2225, 2314];

test(`every promise holds in ${SEEDS} simulated lives, and in those that once broke one`, async () => {
  const broken: string[] = [];
  const seeds = [...Array.from({ length: SEEDS }, (_, index) => index + 1), ...FOUND_BUGS];
  for (const seed of seeds) {
    const { failure } = await simulate(planOf(seed));
    if (failure !== null) broken.push(`${failure.message}; replay: npm run sim -- --seed ${seed} --trace`);
  }
  expect(broken).toEqual([]);
});

test('a seed repeats itself event by event', async () => {
  const traceOf = async (): Promise<string[]> => {
    const lines: string[] = [];
    await simulate(planOf(3), (line) => lines.push(line));
    return lines;
  };
  const first = await traceOf();
  expect(first.length).toBeGreaterThan(100);
  expect(await traceOf()).toEqual(first);
});
