import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { SeededRandom } from '../support/seeded-random.js';
import { until } from '../support/until.js';
import { HostClock } from './host-clock.js';

const HOUR_MS = 3_600_000;
/** Tells the time all the time: a process, a thread of it, and one that it has started. */
const TELLER = `
const { Worker, isMainThread } = require('node:worker_threads');
const { spawn } = require('node:child_process');
const who = process.argv[2] ?? (isMainThread ? 'process' : 'thread');
if (who === 'process') {
  new Worker(__filename);
  spawn(process.execPath, [__filename, 'child'], { stdio: 'inherit' });
}
setInterval(() => console.log([who, new Date().getTime(), Date.now()].join(' ')), 20);
if (who !== 'thread') process.stdin.on('end', () => process.exit()).resume();
`;

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ggmirror-test-'));
});

afterEach(() => rmSync(folder, { recursive: true }));

/** A jump of an hour at least. */
function jump(clock: HostClock): number {
  for (;;) {
    clock.jump();
    if (Math.abs(clock.wrongByMs) >= HOUR_MS) return clock.wrongByMs;
  }
}

test('programs of a host see its clock jump in each of their processes and threads while they run', async () => {
  const clock = new HostClock(folder, 'host', new SeededRandom(1));
  const path = join(folder, 'teller.cjs');
  writeFileSync(path, TELLER);
  const teller = spawn(process.execPath, [path], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, ...clock.environment },
  });
  const ended = once(teller, 'exit');
  try {
    let said = '';
    teller.stdout.setEncoding('latin1').on('data', (text: string) => (said += text));
    const untilWrongBy = async (wrongByMs: number): Promise<void> => {
      said = '';
      for (const who of ['process', 'thread', 'child']) {
        await until(`${who} to be wrong by ${wrongByMs} ms`, () => {
          const [, ...times] = new RegExp(`.*^${who} (\\d+) (\\d+)$`, 'ms').exec(said) ?? [];
          const isSo = (time: string): boolean =>
            Math.abs(Number(time) - Date.now() - wrongByMs) < HOUR_MS / 2;
          return times.length === 2 && times.every(isSo);
        });
      }
    };
    await untilWrongBy(0);
    await untilWrongBy(jump(clock));
    await untilWrongBy(jump(clock));
  } finally {
    teller.stdin.end();
    await ended;
  }
});

test('a file is stamped with the time of its host', () => {
  const clock = new HostClock(folder, 'host', new SeededRandom(1));
  const path = join(folder, 'image');
  writeFileSync(path, '');
  const wrongByMs = jump(clock);
  clock.stamp(path);
  expect(Math.abs(statSync(path).mtimeMs - Date.now() - wrongByMs)).toBeLessThan(HOUR_MS / 2);
});
