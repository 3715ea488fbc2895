import { renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { canMakeHosts } from './hosts.js';
import { makeFolder } from './leftovers.js';
import { torture } from './torture.js';
import type { TortureResult } from './torture-options.js';

declare module 'vitest' {
  interface ProvidedContext {
    /** Where the result of the torture that runs beside all tests will be; null if none runs. */
    readonly tortureResult: string | null;
  }
}

/** Long enough in CI to be worth something. */
export const TORTURE_SECONDS = Number(
  process.env['GGMIRROR_TORTURE_SECONDS'] ?? (process.env['CI'] === 'true' ? 120 : 15),
);
export const TORTURE_SEED = Number(process.env['GGMIRROR_TORTURE_SEED'] ?? Math.floor(Date.now() / 1000));

/** In CI the torture, which mostly waits, runs beside the other tests; its own test waits for its end. */
export default function setup(project: TestProject): (() => Promise<void>) | undefined {
  project.provide('tortureResult', null);
  if (process.env['CI'] !== 'true' || !mayMakeHosts()) return undefined;
  const folder = makeFolder();
  const resultPath = join(folder, 'result.json');
  const end = new AbortController();
  // Under another name first: who waits for it must not find a part of it.
  const tell = (result: TortureResult): void => {
    writeFileSync(`${resultPath}.new`, JSON.stringify(result));
    renameSync(`${resultPath}.new`, resultPath);
  };
  const ended = torture({
    seed: TORTURE_SEED,
    seconds: TORTURE_SECONDS,
    folder,
    tell: null,
    signal: end.signal,
  })
    .catch((error: unknown) => ({ problem: String(error), summary: '', happened: {}, events: [] }))
    .then(tell);
  project.provide('tortureResult', resultPath);
  return async () => {
    end.abort();
    await ended;
    rmSync(folder, { recursive: true, force: true });
  };
}

/** What is missing is told by the test itself. */
function mayMakeHosts(): boolean {
  try {
    return canMakeHosts();
  } catch {
    return false;
  }
}
