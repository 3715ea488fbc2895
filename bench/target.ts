import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

const START_MS = 20_000;
const POLL_MS = 50;

/** Something that clients reach over NBD. */
export interface Target {
  readonly name: string;
  readonly uri: string;
  stop(): Promise<void>;
}

/** Stops each of them, also when one can't be; then it throws that. */
export async function stopAll(targets: readonly Target[]): Promise<void> {
  const results = [];
  for (const target of targets) results.push(...(await Promise.allSettled([target.stop()])));
  const failed = results.find((result) => result.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
}

interface TargetSource {
  readonly name: string;
  readonly program: string;
  readonly words: readonly string[];
  readonly socket: string;
  readonly exportName?: string;
  /** The file that is there when it can be reached; the socket if left out. */
  readonly readyFile?: string;
}

/** Starts a program that serves NBD on a Unix socket, and waits for the socket. */
export async function startTarget(source: TargetSource): Promise<Target> {
  const { name, program, words, socket, exportName = '', readyFile = socket } = source;
  const child = spawn(program, words, { stdio: ['ignore', 'ignore', 'inherit'] });
  const failure: { reason: string | null } = { reason: null };
  child.once('error', (error) => (failure.reason = error.message));
  const endMs = performance.now() + START_MS;
  while (!existsSync(readyFile)) {
    if (failure.reason !== null || child.exitCode !== null || performance.now() > endMs) {
      child.kill();
      throw new Error(`${name} does not start: ${failure.reason ?? `it made no ${readyFile}`}`);
    }
    await delay(POLL_MS);
  }
  return { name, uri: `nbd+unix:///${exportName}?socket=${socket}`, stop: () => stopChild(child) };
}

async function stopChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, 'exit');
  child.kill('SIGTERM');
  await exit;
}
