import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { until } from './until.js';

/**
 * A process and everything that it started, its children's children too, as far as they still run: what may be killed
 * with it. Throws for what can't be a process of a test, because a mistake here ends everything on the machine: a number
 * that is no process id (an empty pid file reads as 0, which is the parent of all), and a family that we belong to.
 */
export function familyOf(pid: number): number[] {
  if (!Number.isSafeInteger(pid) || pid <= 1) throw new Error(`${pid} is not the id of a process of a test`);
  const processes = runningProcesses();
  const family = [pid];
  for (const member of family)
    for (const { pid: child, parent } of processes) if (parent === member) family.push(child);
  if (family.includes(process.pid)) throw new Error(`process ${pid} has not been started by this test`);
  return family.filter((member) => processes.some((one) => one.pid === member));
}

/** The process id in a file; null as long as there is none, or only a part of it. */
export function readPidFile(path: string): number | null {
  const text = existsSync(path) ? readFileSync(path, 'latin1').trim() : '';
  const pid = /^[0-9]+$/.test(text) ? Number(text) : 0;
  return pid > 1 ? pid : null;
}

/** Without those that have ended and wait for someone to ask how; who adopts orphans may take seconds to do so. */
function runningProcesses(): { readonly pid: number; readonly parent: number }[] {
  const table = execFileSync('ps', ['-ax', '-o', 'pid=', '-o', 'ppid=', '-o', 'stat='], { encoding: 'utf8' });
  return [...table.matchAll(/^\s*(\d+)\s+(\d+)\s+([A-Z])/gm)]
    .filter(([, , , state]) => state !== 'Z')
    .map(([, pid, parent]) => ({ pid: Number(pid), parent: Number(parent) }));
}

/** Also true for a process that has ended while nobody has asked how yet. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** As if the host had died: the process and everything that it started are gone at once. */
export async function killFamily(pid: number): Promise<void> {
  const family = familyOf(pid);
  for (const member of family) send(member, 'SIGKILL');
  await untilGone(family);
}

/**
 * As if the host hung: stops the process and everything that it started. Resolves, with what lets them go on, when the
 * last of their threads stands still; the signal alone is on its way then, and a busy process goes on for a while.
 */
export async function pauseFamily(pid: number): Promise<() => void> {
  const family = familyOf(pid);
  const resume = (): void => {
    for (const member of family) send(member, 'SIGCONT');
  };
  for (const member of family) send(member, 'SIGSTOP');
  await until(`${family.join(', ')} to stand still`, () => areStopped(family)).catch((error: unknown) => {
    resume();
    throw error;
  });
  return resume;
}

function areStopped(pids: readonly number[]): boolean {
  const eachThread = process.platform === 'linux' ? '-L' : '-H';
  const states = execFileSync('ps', [eachThread, '-o', 'stat=', '-p', pids.join(',')], { encoding: 'utf8' });
  return states
    .trim()
    .split('\n')
    .every((state) => /^[Tt]/.test(state.trim()));
}

/** Resolves when none of these processes runs any more. */
export async function untilGone(pids: readonly number[]): Promise<void> {
  const areGone = (): boolean => !runningProcesses().some(({ pid }) => pids.includes(pid));
  await until(`the end of ${pids.join(', ')}`, areGone);
}

/** Does nothing if the process has ended, and gives false. */
export function send(pid: number, signal: NodeJS.Signals): boolean {
  try {
    process.kill(pid, signal);
    return true;
  } catch {
    // It has ended by itself.
    return false;
  }
}
