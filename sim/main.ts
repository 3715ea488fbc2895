/** Runs seeds of the simulator: npm run sim -- --help. */
import { parseArgs } from 'node:util';
import { minimise } from './minimise.js';
import { type Extras, type WireKind, WIRES, planOf } from './plan.js';
import { simulate } from './simulation.js';
import { type SplitBrainOptions, SPLITS, simulateSplitBrain } from './split-brain.js';
import { BrokenPromise } from './world.js';

const USAGE = `usage: npm run sim -- [options]
  --seed N      the first seed (1)
  --runs N      how many seeds (1; without an end if a time is given)
  --seconds N   go on for so long
  --hours N     go on for so long
  --trace       print everything that happens
  --wire KIND   queue, sessions or alone (docs/simulator.md); each seed is lived in all three if it is not given
  --plain       the server of one host can't flush, as a plain ggated
  --jumps       clocks go on by up to an hour at once
  --split-brain both hosts start the mirror and write, without knowing of each other, or one by force
  --minimise    leave out of a failing seed what it fails without, and print what is left
`;
const PROGRESS_MS = 10_000;

const say = (line: string): void => void process.stdout.write(`${line}\n`);

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string', default: '1' },
      runs: { type: 'string' },
      seconds: { type: 'string' },
      hours: { type: 'string' },
      trace: { type: 'boolean', default: false },
      wire: { type: 'string' },
      'split-brain': { type: 'boolean', default: false },
      minimise: { type: 'boolean', default: false },
      plain: { type: 'boolean', default: false },
      jumps: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    process.stdout.write(USAGE);
    return;
  }
  const isTimed = values.seconds !== undefined || values.hours !== undefined;
  const forMs = isTimed
    ? Number(values.seconds ?? 0) * 1000 + Number(values.hours ?? 0) * 3_600_000
    : Infinity;
  const runsMax = Number(values.runs ?? (isTimed ? Infinity : 1));
  const startedMs = performance.now();
  const sum = { runs: 0, failed: 0, simulatedMs: 0, kills: 0, powerLosses: 0, cuts: 0, requests: 0 };
  const summary = (): string => {
    const rate = (sum.runs / ((performance.now() - startedMs) / 1000)).toFixed(1);
    const hours = (sum.simulatedMs / 3_600_000).toFixed(2);
    return (
      `${sum.runs} runs (${rate} a second), ${hours} simulated hours, ${sum.requests} requests, ${sum.kills} kills, ` +
      `${sum.powerLosses} losses of power, ${sum.cuts} cuts and stalls, ${sum.failed} failed`
    );
  };
  const wires = wiresOf(values.wire);
  let progressMs = startedMs;
  let seeds = 0;
  for (let seed = Number(values.seed); seeds < runsMax && performance.now() - startedMs < forMs; seed++) {
    if (values['split-brain']) {
      for (const split of SPLITS)
        for (const wire of wires)
          if (wire !== 'alone')
            sum.failed += (await runSplitBrain({ seed, split, wire }, values.trace, sum)) ? 0 : 1;
    } else for (const wire of wires) sum.failed += (await runSeed(seed, wire, values, sum)) ? 0 : 1;
    seeds += 1;
    if (performance.now() - progressMs < PROGRESS_MS) continue;
    progressMs = performance.now();
    say(summary());
  }
  say(summary());
  if (sum.failed > 0) process.exitCode = 1;
}

interface Sum {
  runs: number;
  simulatedMs: number;
  kills: number;
  powerLosses: number;
  cuts: number;
  requests: number;
}

function wiresOf(text: string | undefined): readonly WireKind[] {
  if (text === undefined) return WIRES;
  const wires = WIRES.filter((known) => known === text);
  if (wires.length === 0) throw new Error(`--wire ${text}: known are ${WIRES.join(', ')}`);
  return wires;
}

/** As runSeed(). */
async function runSplitBrain(life: SplitBrainOptions, isTraced: boolean, sum: Sum): Promise<boolean> {
  const { seed, split, wire } = life;
  const failure = await simulateSplitBrain(life, isTraced ? say : null);
  sum.runs += 1;
  if (failure === null) return true;
  say(`seed ${seed}, ${split}, ${wire}: ${failure.message}`);
  if (!(failure instanceof BrokenPromise)) say(failure.stack ?? '');
  say(`  replay: npm run sim -- --split-brain --seed ${seed} --wire ${wire} --trace`);
  return false;
}

/** False if it broke a promise. */
async function runSeed(
  seed: number,
  wire: WireKind,
  { trace, minimise: isMinimised, ...extras }: Required<Extras> & { trace: boolean; minimise: boolean },
  sum: Sum,
): Promise<boolean> {
  const plan = planOf(seed, wire, extras);
  const { failure, counts, simulatedMs } = await simulate(plan, trace ? say : null);
  sum.runs += 1;
  sum.simulatedMs += simulatedMs;
  sum.kills += counts.kills;
  sum.powerLosses += counts.powerLosses;
  sum.cuts += counts.cuts;
  sum.requests += counts.reads + counts.writes + counts.flushes;
  if (failure === null) return true;
  say(`seed ${seed}: ${failure.message}`);
  if (!(failure instanceof BrokenPromise)) say(failure.stack ?? '');
  say(`  replay: npm run sim -- --seed ${seed} --wire ${plan.wire}${flagsOf(extras)} --trace`);
  if (isMinimised) {
    const fewer = await minimise(plan);
    say(`  ${fewer.steps.length} of ${plan.steps.length} steps are enough:`);
    await simulate(fewer, say);
  }
  return false;
}

const flagsOf = ({ plain, jumps }: Required<Extras>): string =>
  `${plain ? ' --plain' : ''}${jumps ? ' --jumps' : ''}`;

await main();
