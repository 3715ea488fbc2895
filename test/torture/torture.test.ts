import { mkdtempSync, readFileSync, rmSync, existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { canMakeHosts } from './hosts.js';
import { torture } from './torture.js';

/** Long enough in CI to be worth something; it waits for time-outs most of the time. */
const SECONDS = Number(process.env['GGMIRROR_TORTURE_SECONDS'] ?? (process.env['CI'] === 'true' ? 120 : 15));
const SEED = Number(process.env['GGMIRROR_TORTURE_SEED'] ?? Math.floor(Date.now() / 1000));
/** Setting up, the last resync and comparing, on a machine that is busy with other tests. */
const BESIDES_MS = 300_000;

const LOGS = ['mirror.log', 'backup0.log', 'backup1.log'];
const LOG_LINES_MAX = 40;

function tailOf(path: string): string {
  if (!existsSync(path)) return '';
  return readFileSync(path, 'utf8').trimEnd().split('\n').slice(-LOG_LINES_MAX).join('\n');
}

test.skipIf(!canMakeHosts())(
  'real programs keep their promises while they are killed, stopped and cut off from each other',
  async () => {
    const folder = mkdtempSync(join(tmpdir(), 'ggmirror-torture-'));
    try {
      const { problem, summary, events } = await torture({
        seed: SEED,
        seconds: SECONDS,
        folder,
        tell: null,
      });
      const logs = LOGS.map((name) => `${name}:\n${tailOf(join(folder, name))}`);
      const story = [...events, ...logs, summary, `npm run torture -- --seconds ${SECONDS} --seed ${SEED}`];
      expect(problem, story.join('\n')).toBeNull();
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  },
  SECONDS * 1000 + BESIDES_MS,
);
