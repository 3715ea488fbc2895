import { Worker } from 'node:worker_threads';

/** A turn takes milliseconds; on the busiest machine it takes no minute. */
const STUCK_SECONDS = 60;

/** What the watchdog sees beside messages: how many turns there were. */
const shared = new Float64Array(new SharedArrayBuffer(Float64Array.BYTES_PER_ELEMENT));

// Source text, for a thread can't be made from a file that is TypeScript in tests and JavaScript elsewhere.
const SOURCE = `
const { writeSync } = require('node:fs');
const { parentPort, workerData } = require('node:worker_threads');
const { shared, stuckSeconds } = workerData;
let life = null;
let last = -1;
let seconds = 0;
parentPort.on('message', (what) => (life = what));
setInterval(() => {
  const [turns] = shared;
  seconds = life === null || turns !== last ? 0 : seconds + 1;
  last = turns;
  if (seconds < stuckSeconds) return;
  writeSync(2, life + ': it did not end, for one turn lasts for ever\\n');
  process.kill(process.pid, 'SIGKILL');
}, 1000);
`;

let worker: Worker | null = null;

/**
 * From now on a turn that never ends, as when promises wait for nothing but each other, ends the process, which says
 * `life`. Only another thread can see that.
 */
export function watchLife(life: string): { release(): void } {
  if (worker === null) {
    worker = new Worker(SOURCE, { eval: true, workerData: { shared, stuckSeconds: STUCK_SECONDS } });
    worker.unref();
  }
  const thread = worker;
  thread.postMessage(life);
  return { release: () => thread.postMessage(null) };
}

/** To be called in each turn. */
export function turnBegins(): void {
  shared[0] = (shared[0] ?? 0) + 1;
}
