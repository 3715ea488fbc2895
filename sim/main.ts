/** Runs seeds of the simulator: npm run sim -- --help. */
import { parseArgs } from 'node:util';
import { planOf } from './plan.js';
import { simulate } from './simulation.js';
import { BrokenPromise } from './world.js';

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string', default: '1' },
      runs: { type: 'string' },
      seconds: { type: 'string' },
      hours: { type: 'string' },
      trace: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  const first = Number(values.seed);
  const runs = Number(values.runs ?? 1);
  const startedMs = performance.now();
  let events = 0;
  let simulatedMs = 0;
  for (let seed = first; seed < first + runs; seed++) {
    const result = await simulate(
      planOf(seed),
      values.trace ? (line) => process.stdout.write(`${line}\n`) : null,
    );
    events += result.eventCount;
    simulatedMs += result.simulatedMs;
    if (result.failure !== null) {
      process.stdout.write(`seed ${seed}: ${result.failure.message}\n`);
      if (!(result.failure instanceof BrokenPromise)) process.stdout.write(`${result.failure.stack ?? ''}\n`);
    }
  }
  const seconds = (performance.now() - startedMs) / 1000;
  process.stdout.write(
    `${runs} runs, ${events} events, ${simulatedMs / 1000} s simulated in ${seconds.toFixed(1)} s\n`,
  );
}

await main();
