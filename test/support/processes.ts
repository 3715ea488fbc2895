import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { killFamily, send } from './families.js';
import { tellOnFailure } from './tell-on-failure.js';
import { until } from './until.js';

export { familyOf, isAlive, killFamily, pauseFamily, readPidFile, untilGone } from './families.js';

/** A program in the foreground, and what it has said so far. */
export interface Running {
  readonly pid: number;
  readonly child: ChildProcess;
  output(): string;
  /** Its exit code; 128 if a signal ended it. */
  readonly ended: Promise<number>;
  /** SIGTERM, and SIGKILL for all of it after ten seconds. */
  stop(): Promise<void>;
}

export function start(
  program: string,
  words: readonly string[],
  environment: Readonly<Record<string, string>> = {},
): Running {
  const child = spawn(program, words, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...environment },
  });
  const { pid } = child;
  if (pid === undefined) throw new Error(`${program} can't be started`);
  let output = '';
  const keep = (text: string): void => void (output += text);
  child.stdout.setEncoding('utf8').on('data', keep);
  child.stderr.setEncoding('utf8').on('data', keep);
  tellOnFailure([program, ...words].join(' '), () => output);
  const ended = once(child, 'close').then(([code]: unknown[]) => (typeof code === 'number' ? code : 128));
  return {
    pid,
    child,
    output: () => output,
    ended,
    async stop() {
      send(pid, 'SIGTERM');
      const isOver = (): boolean => child.exitCode !== null || child.signalCode !== null;
      await until(`the end of ${program}`, isOver, 10_000).catch(() => killFamily(pid));
      await ended;
    },
  };
}

/** One of our own programs, as `npm run build` left it. */
export function startOwn(
  program: 'ggmirror' | 'ggated',
  words: readonly string[],
  environment: Readonly<Record<string, string>> = {},
): Running {
  const path = join(import.meta.dirname, `../../dist/cli/${program}.js`);
  return start(process.execPath, [path, ...words], environment);
}
