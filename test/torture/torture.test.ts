import { existsSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, inject, test } from 'vitest';
import { until } from '../support/until.js';
import { TORTURE_SECONDS, TORTURE_SEED } from './beside.js';
import { canMakeHosts } from './hosts.js';
import { makeFolder } from './leftovers.js';
import { torture } from './torture.js';
import type { TortureResult } from './torture-options.js';

/** Setting up, resyncs, a split brain and comparing, on a machine that is busy with other tests. */
const LIMIT_MS = TORTURE_SECONDS * 1000 + 480_000;
const LOGS = ['mirror.log', 'backup0.log', 'backup1.log'];
const LOG_LINES_MAX = 40;

function tailOf(path: string): string {
  if (!existsSync(path)) return '';
  return readFileSync(path, 'utf8').trimEnd().split('\n').slice(-LOG_LINES_MAX).join('\n');
}

function expectNoProblem({ problem, summary, events }: TortureResult, folder: string): void {
  const logs = LOGS.map((name) => `${name}:\n${tailOf(join(folder, name))}`);
  expect(problem, [...events, ...logs, summary].join('\n')).toBeNull();
}

test.skipIf(!canMakeHosts())(
  'real programs keep their promises while they are killed, stopped and cut off from each other',
  async () => {
    const besides = inject('tortureResult');
    if (besides !== null) {
      const result = await until('the torture', () => readResult(besides), LIMIT_MS);
      expectNoProblem(result, dirname(besides));
      return;
    }
    const folder = makeFolder();
    try {
      const options = { seed: TORTURE_SEED, seconds: TORTURE_SECONDS, folder, tell: null };
      expectNoProblem(await torture(options), folder);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  },
  LIMIT_MS + 10_000,
);

function readResult(path: string): TortureResult | null {
  return existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as TortureResult) : null;
}
