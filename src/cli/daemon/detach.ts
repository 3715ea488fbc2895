import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { CommandError } from '../errors.js';

/** What a detached daemon tells the process that started it, once. */
export type StartReport =
  | { readonly kind: 'ready' }
  /** One line for people. */
  | { readonly kind: 'failed'; readonly message: string };

/**
 * Runs a module of ours as a daemon: in a session of its own, in `/`, without terminal or standard streams, as daemon(3)
 * leaves a process. Resolves with its pid when it reports that it is ready. Throws CommandError with its reason if it
 * isn't going to be. `task` is its first message; waitForTask() and report() are its side.
 */
export async function startDetached(module: URL, task: object): Promise<number> {
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
    child.once('message', (message) => resolve(message as StartReport));
    child.send(task, () => undefined); // a child that cannot take it says so by its exit
  });
  if (report.kind === 'failed' || child.pid === undefined) {
    throw new CommandError(report.kind === 'failed' ? report.message : 'Cannot start the daemon.');
  }
  if (child.connected) child.disconnect();
  child.unref();
  return child.pid;
}

/** In the daemon: its task, from a program of ours. Ends the process if whoever started it goes away before report() is called. */
export async function waitForTask(): Promise<unknown> {
  process.once('disconnect', endOrphan);
  return await new Promise((resolve) => process.once('message', resolve));
}

/** In the daemon: says how the start went, and cuts the tie. */
export async function report(outcome: StartReport): Promise<void> {
  process.off('disconnect', endOrphan);
  await new Promise<void>((resolve) => {
    if (process.send !== undefined && process.connected) process.send(outcome, () => resolve());
    else resolve();
  });
  if (process.connected) process.disconnect();
}

function endOrphan(): void {
  process.exit(1);
}
