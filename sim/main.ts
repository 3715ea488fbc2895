/** Runs seeds of the simulator: npm run sim -- --help. */
import { type Life, live, minimiseLife, replayOf } from './life.js';
import { type Options, readOptions, UsageError } from './options.js';
import type { RunResult } from './simulation.js';
import { BrokenPromise } from './world.js';

const PROGRESS_MS = 10_000;

const say = (line: string): void => void process.stdout.write(`${line}\n`);

/** What was lived so far. */
class Sum {
  failed = 0;
  #runs = 0;
  #simulatedMs = 0;
  #requests = 0;
  readonly #counts = { kills: 0, powerLosses: 0, cuts: 0 };
  readonly #startedMs = performance.now();

  add(run: RunResult | null): void {
    this.#runs += 1;
    if (run === null) return;
    const { counts, simulatedMs } = run;
    this.#simulatedMs += simulatedMs;
    this.#counts.kills += counts.kills;
    this.#counts.powerLosses += counts.powerLosses;
    this.#counts.cuts += counts.cuts;
    this.#requests += counts.reads + counts.writes + counts.flushes;
  }

  toString(): string {
    const { kills, powerLosses, cuts } = this.#counts;
    const rate = (this.#runs / ((performance.now() - this.#startedMs) / 1000)).toFixed(1);
    const hours = (this.#simulatedMs / 3_600_000).toFixed(2);
    return (
      `${this.#runs} runs (${rate} a second), ${hours} simulated hours, ${this.#requests} requests, ${kills} kills, ` +
      `${powerLosses} losses of power, ${cuts} cuts and stalls, ${this.failed} failed`
    );
  }
}

async function main(): Promise<void> {
  const options = readOptions(process.argv.slice(2));
  if (options.print !== null) {
    process.stdout.write(options.print);
    return;
  }
  options.plant?.plant();
  const startedMs = performance.now();
  const sum = new Sum();
  let progressMs = startedMs;
  const { firstSeed, runsMax, forMs, steps } = options;
  for (let seed = firstSeed; seed - firstSeed < runsMax && performance.now() - startedMs < forMs; seed++) {
    for (const way of options.ways) {
      const life: Life = steps === undefined ? { ...way, seed } : { ...way, seed, steps };
      sum.failed += (await runLife(life, options, sum)) ? 0 : 1;
    }
    if (performance.now() - progressMs < PROGRESS_MS) continue;
    progressMs = performance.now();
    say(sum.toString());
  }
  say(sum.toString());
  if (sum.failed > 0) process.exitCode = 1;
}

/** False if it broke a promise. */
async function runLife(life: Life, { isTraced, isMinimised, plant }: Options, sum: Sum): Promise<boolean> {
  const { failure, run } = await live(life, isTraced ? say : null);
  sum.add(run);
  if (failure === null) return true;
  say(`seed ${life.seed}: ${failure.message}`);
  if (!(failure instanceof BrokenPromise)) say(failure.stack ?? '');
  say(`  replay: ${replayOf(life, plant?.name)}`);
  const fewer = isMinimised ? await minimiseLife(life) : null;
  if (fewer === null) return false;
  say(`  ${fewer.life.steps?.length ?? 0} of ${fewer.stepCount} steps are enough:`);
  const least = await live(fewer.life, say);
  say(`seed ${life.seed}, with these alone: ${least.failure?.message ?? 'no promise is broken'}`);
  say(`  replay: ${replayOf(fewer.life, plant?.name)}`);
  return false;
}

try {
  await main();
} catch (error) {
  if (!(error instanceof UsageError)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 2;
}
