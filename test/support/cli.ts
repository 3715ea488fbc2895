import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { tellOnFailure } from './tell-on-failure.js';

const PROGRAM = join(import.meta.dirname, '../../dist/cli/ggmirror.js');

export interface CliResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A run of the built program. */
export interface CliRun {
  readonly pid: number;
  stdout(): string;
  stderr(): string;
  /** Throws with what it said if it has ended: for conditions that only a running one can meet. */
  expectRunning(): true;
  signal(name: NodeJS.Signals): void;
  readonly ended: Promise<CliResult>;
}

/** `environment` is added to ours. */
export function startCli(words: readonly string[], environment: Record<string, string> = {}): CliRun {
  const child = spawn(process.execPath, [PROGRAM, ...words], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...environment },
    // Shorter than a test may take, so that nothing outlives a test that fails.
    timeout: 250_000,
    killSignal: 'SIGKILL',
  });
  const { pid } = child;
  if (pid === undefined) throw new Error('the program can’t be started');
  const said = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => (said.stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said.stderr += text));
  tellOnFailure(`ggmirror ${words.join(' ')}`, () => said.stderr);
  return {
    pid,
    stdout: () => said.stdout,
    stderr: () => said.stderr,
    expectRunning: () => {
      if (child.exitCode === null && child.signalCode === null) return true;
      throw new Error(`it has ended with ${child.exitCode ?? String(child.signalCode)}: ${said.stderr}`);
    },
    signal: (name) => child.kill(name),
    ended: once(child, 'close').then(([code]: unknown[]) => ({
      code: typeof code === 'number' ? code : null,
      ...said,
    })),
  };
}

export const runCli = (words: readonly string[], environment?: Record<string, string>): Promise<CliResult> =>
  startCli(words, environment).ended;
