import { minimise } from './minimise.js';
import { type Extras, type Plan, planOf, type WireKind } from './plan.js';
import { type RunResult, simulate } from './simulation.js';
import { type Split, simulateSplitBrain } from './split-brain.js';
import type { Trace } from './guard.js';

/** How a seed is lived: see docs/simulator.md. */
export interface Way extends Extras {
  readonly wire: WireKind;
  /** Both hosts go their own ways; then nothing else of a plan holds. */
  readonly split?: Split;
}

export interface Life extends Way {
  readonly seed: number;
  /** Of its plan only these steps, by their places, ascending; left out: all. */
  readonly steps?: readonly number[];
}

export interface Lived {
  /** Null if every promise held. */
  readonly failure: Error | null;
  /** Null for a split brain, of which nothing is counted. */
  readonly run: RunResult | null;
}

/** Lives a life to its end, or to the first promise that is broken. */
export async function live(life: Life, trace: Trace = null): Promise<Lived> {
  const { seed, split, wire } = life;
  if (split !== undefined && wire !== 'alone')
    return { failure: await simulateSplitBrain({ seed, split, wire }, trace), run: null };
  const run = await simulate(planOfLife(life), trace);
  return { failure: run.failure, run };
}

function planOfLife({ seed, wire, steps, ...extras }: Life, whole = planOf(seed, wire, extras)): Plan {
  return steps === undefined ? whole : { ...whole, steps: steps.flatMap((at) => whole.steps[at] ?? []) };
}

/** The same life without what it fails without. Null for one that has no plan to leave anything out of. */
export async function minimiseLife(life: Life): Promise<{ life: Life; stepCount: number } | null> {
  if (life.split !== undefined) return null;
  const whole = planOf(life.seed, life.wire, life);
  const { steps } = whole;
  const fewer = await minimise(planOfLife(life, whole));
  return {
    life: { ...life, steps: fewer.steps.map((step) => steps.indexOf(step)) },
    stepCount: steps.length,
  };
}

/** The command that lives it again, with everything that happens; `plant` is the name of the mistake that was planted. */
export function replayOf(life: Life, plant?: string): string {
  const { seed, wire, split, plain, jumps, only, steps } = life;
  const words = [`--seed ${seed}`, `--wire ${wire}`];
  if (split !== undefined) words.push(`--split ${split}`);
  if (plain === true) words.push('--plain');
  if (jumps === true) words.push('--jumps');
  if (only !== undefined) words.push(`--only ${only.join(',')}`);
  if (plant !== undefined) words.push(`--plant "${plant}"`);
  if (steps !== undefined) words.push(`--steps ${runsTextOf(steps)}`);
  return `npm run sim -- ${words.join(' ')} --trace`;
}

/** As parseSteps() reads it: '3,7-9'. */
export function runsTextOf(numbers: readonly number[]): string {
  const runs: { first: number; last: number }[] = [];
  for (const number of numbers) {
    const run = runs.at(-1);
    if (run?.last === number - 1) run.last = number;
    else runs.push({ first: number, last: number });
  }
  return runs.map(({ first, last }) => (first === last ? `${first}` : `${first}-${last}`)).join(',');
}
