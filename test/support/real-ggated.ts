import { execFile } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { killFamily, readPidFile } from './processes.js';
import { connectOnce, freePort } from './ports.js';
import type { Scratch } from './scratch.js';
import { until } from './until.js';

/** A FreeBSD program: named by the environment, or FreeBSD's own. Null where there is none. */
export function realProgram(variable: 'GGATED' | 'GGATEC'): string | null {
  const named = process.env[variable];
  if (named !== undefined && named !== '') return named;
  const own = `/sbin/${variable.toLowerCase()}`;
  return process.platform === 'freebsd' && existsSync(own) ? own : null;
}

export interface Ggated {
  readonly port: number;
  /** Kills it and its sessions, as if its host had died. May be called twice. */
  kill(): Promise<void>;
}

/**
 * Starts the real ggated, or a program with its command line, as a daemon. `exportLines` are of the exports file,
 * without the host, which is 127.0.0.1: `RW /path`.
 */
export async function startGgated(
  command: readonly [string, ...string[]],
  scratch: Scratch,
  exportLines: readonly string[],
  port?: number,
): Promise<Ggated> {
  const listenPort = port ?? (await freePort());
  const exportsFile = scratch.path('gg.exports');
  const pidFile = scratch.path(`ggated-${listenPort}.pid`);
  writeFileSync(exportsFile, exportLines.map((line) => `127.0.0.1 ${line}\n`).join(''));
  const [program, ...words] = command;
  // It returns once the daemon runs by itself.
  const options = ['-a', '127.0.0.1', '-p', String(listenPort), '-F', pidFile, exportsFile];
  await promisify(execFile)(program, [...words, ...options]);
  // The starter ends before the daemon has written its pid, and a daemon listens only after that.
  await until(`port ${listenPort}`, () => connectOnce(listenPort));
  const pid = await until('the pid file', () => readPidFile(pidFile));
  let isKilled = false;
  return {
    port: listenPort,
    async kill() {
      if (!isKilled) await killFamily(pid);
      isKilled = true;
    },
  };
}
