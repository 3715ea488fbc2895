import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { CommandError } from '../errors.js';

/** What a detached daemon tells the process that started it. */
export type StartReport =
  | { readonly kind: 'ready' }
  /** It will start when something has come that it waits for; a line for people. */
  | { readonly kind: 'waiting'; readonly message: string }
  /** One line for people. */
  | { readonly kind: 'failed'; readonly message: string };

export interface DetachOptions {
  /** Called when the daemon says that it waits; left out: that is taken for its last report. */
  readonly waits?: (message: string) => void;
}

export interface Detached {
  readonly pid: number;
  /** Null if it is ready. */
  readonly waitsFor: string | null;
}

/**
 * Runs a module of ours as a daemon: in a session of its own, in `/`, without terminal or standard streams, as daemon(3)
 * leaves a process. Resolves when it reports that it is ready, or waits. Throws CommandError with its reason if it
 * isn't going to be. `task` is its first message; waitForTask() and report() are its side.
 */
export async function startDetached(
  module: URL,
  task: object,
  { waits }: DetachOptions = {},
): Promise<Detached> {
  const child = spawn(process.execPath, [...process.execArgv, fileURLToPath(module)], {
    detached: true,
    cwd: '/',
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
  });
  const report = await new Promise<StartReport>((resolve) => {
    const fail = (message: string): void => resolve({ kind: 'failed', message });
    child.once('error', (error) => fail(`Cannot start the daemon: ${error.message}.`));
    child.once('exit', (code, signal) =>
      fail(
        `The daemon ended while it started (${signal ?? `exit code ${code ?? 'unknown'}`}); -v shows more.`,
      ),
    );
    child.on('message', (message) => {
      const said = message as StartReport;
      if (said.kind === 'waiting' && waits !== undefined) waits(said.message);
      else resolve(said);
    });
    child.send(task, () => undefined); // a child that cannot take it says so by its exit
  });
  if (report.kind === 'failed' || child.pid === undefined) {
    throw new CommandError(report.kind === 'failed' ? report.message : 'Cannot start the daemon.');
  }
  if (child.connected) child.disconnect();
  child.unref();
  return { pid: child.pid, waitsFor: report.kind === 'waiting' ? report.message : null };
}

/** In the daemon: its task, from a program of ours. Ends the process if whoever started it goes away before report() is called. */
export async function waitForTask(): Promise<unknown> {
  process.once('disconnect', endOrphan);
  return await new Promise((resolve) => process.once('message', resolve));
}

/** In the daemon: says how the start went, and cuts the tie. */
export async function report(outcome: StartReport): Promise<void> {
  process.off('disconnect', endOrphan);
  await say(outcome);
  if (process.connected) process.disconnect();
}

/** In the daemon: says how the start goes. The tie stays. */
export async function say(news: StartReport): Promise<void> {
  await new Promise<void>((resolve) => {
    if (process.send !== undefined && process.connected) process.send(news, () => resolve());
    else resolve();
  });
}

/** In the daemon: resolves when whoever started it has gone away. From then on that does not end the process by itself. */
export function whenOrphaned(): Promise<void> {
  return new Promise((resolve) => {
    process.once('disconnect', () => resolve());
    process.off('disconnect', endOrphan);
    if (!process.connected) resolve();
  });
}

function endOrphan(): void {
  process.exit(1);
}
