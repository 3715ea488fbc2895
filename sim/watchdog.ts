import { Worker } from 'node:worker_threads';

/** A turn takes milliseconds; on the busiest machine it takes no minute. */
const STUCK_SECONDS = 60;

/** What the watchdog sees: how many turns there were, and which seed runs (0 for none). */
const shared = new Float64Array(new SharedArrayBuffer(2 * Float64Array.BYTES_PER_ELEMENT));

// Source text, for a thread can't be made from a file that is TypeScript in tests and JavaScript elsewhere.
const SOURCE = `
const { writeSync } = require('node:fs');
const { shared, stuckSeconds } = require('node:worker_threads').workerData;
let last = -1;
let seconds = 0;
setInterval(() => {
  const [turns, seed] = shared;
  seconds = seed === 0 || turns !== last ? 0 : seconds + 1;
  last = turns;
  if (seconds < stuckSeconds) return;
  writeSync(2, 'seed ' + seed + ': it did not end, for one turn lasts for ever; replay: npm run sim -- --seed ' + seed + ' --trace\\n');
  process.kill(process.pid, 'SIGKILL');
}, 1000);
`;

let worker: Worker | null = null;

/**
 * From now on a turn that never ends, as when promises wait for nothing but each other, ends the process with the seed.
 * Only another thread can see that.
 */
export function watchSeed(seed: number): { release(): void } {
  if (worker === null) {
    worker = new Worker(SOURCE, { eval: true, workerData: { shared, stuckSeconds: STUCK_SECONDS } });
    worker.unref();
  }
  shared[1] = seed;
  return { release: () => (shared[1] = 0) };
}

/** To be called in each turn. */
export function turnBegins(): void {
  shared[0] = (shared[0] ?? 0) + 1;
}
