import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { freePort } from '../src/cli/demo/free-port.js';
import { descendantsOf } from './memory.js';

export type ServerName = 'ours' | 'ceiling' | 'ggated';

/** A server under test. It serves the images it was started with, under their own paths. */
export interface Server {
  readonly name: ServerName;
  readonly port: number;
  readonly pid: number;
  stop(): Promise<void>;
}

const START_MS = 10_000;
const STOP_MS = 10_000;

const ggmirror = (): string => join(import.meta.dirname, '../../dist/cli/ggmirror.js');

/** The command line of one of our own commands. */
export const ownCommand = (words: readonly string[]): readonly [string, readonly string[]] => [
  process.execPath,
  [ggmirror(), ...words],
];

export async function startOurs(
  images: readonly string[],
  extra: readonly string[],
  scratch: string,
  givenPort = 0,
): Promise<Server> {
  const port = givenPort === 0 ? await freePort() : givenPort;
  const [program, words] = ownCommand(['serve', '-a', '127.0.0.1', '-p', String(port), ...extra, ...images]);
  return await startForeground('ours', program, words, port, scratch);
}

/** It serves one image to one client. */
export async function startCeiling(program: string, image: string, scratch: string): Promise<Server> {
  const port = await freePort();
  return await startForeground('ceiling', program, [String(port), image], port, scratch);
}

/** As a daemon: in the foreground it writes a line a request, which is not the speed that people see. */
export async function startGgated(
  program: string,
  images: readonly string[],
  scratch: string,
): Promise<Server> {
  const port = await freePort();
  const exportsFile = join(scratch, 'gg.exports');
  const pidFile = join(scratch, 'ggated.pid');
  writeFileSync(exportsFile, images.map((image) => `127.0.0.1 RW ${image}\n`).join(''));
  const words = ['-a', '127.0.0.1', '-p', String(port), '-F', pidFile, exportsFile];
  const starter = spawn(program, words, { stdio: ['ignore', 'ignore', 'inherit'] });
  const [code] = (await once(starter, 'exit')) as [number | null];
  if (code !== 0) throw new Error(`${program} ended with exit code ${String(code)}`);
  await waitForPort(port, () => true);
  const pid = Number(readFileSync(pidFile, 'latin1'));
  if (!(pid > 1)) throw new Error(`${pidFile} holds no process id`);
  return { name: 'ggated', port, pid, stop: () => stopByPid(pid) };
}

async function startForeground(
  name: ServerName,
  program: string,
  words: readonly string[],
  port: number,
  scratch: string,
): Promise<Server> {
  const logPath = join(scratch, `${name}.log`);
  const log = openSync(logPath, 'a');
  const child = spawn(program, words, { stdio: ['ignore', log, log] });
  closeSync(log);
  try {
    const pid = await pidOf(child, program);
    await waitForPort(port, () => child.exitCode === null && child.signalCode === null);
    return { name, port, pid, stop: () => stopByPid(pid) };
  } catch (cause) {
    child.kill('SIGKILL');
    throw new Error(`${name} did not start; it said: ${readFileSync(logPath, 'utf8')}`, { cause });
  }
}

async function pidOf(child: ChildProcess, program: string): Promise<number> {
  if (child.pid === undefined) await once(child, 'spawn'); // throws what kept it from starting
  if (child.pid === undefined) throw new Error(`${program} did not start`);
  return child.pid;
}

/** Ends a server and the processes of its sessions: politely, then not. */
async function stopByPid(pid: number): Promise<void> {
  const family = [pid, ...descendantsOf(pid)];
  // An empty pid file reads as 0, which is everyone's ancestor; and nobody who started us may be ended.
  if (!Number.isSafeInteger(pid) || pid <= 1 || family.includes(process.pid))
    throw new Error(`process ${pid} is none of this benchmark's`);
  signal(pid, 'SIGTERM');
  const deadline = performance.now() + STOP_MS;
  while (family.some(isAlive) && performance.now() < deadline) await delay(50);
  for (const member of family) if (isAlive(member)) signal(member, 'SIGKILL');
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // It has ended by itself.
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function waitForPort(port: number, isStarting: () => boolean): Promise<void> {
  const deadline = performance.now() + START_MS;
  for (;;) {
    const socket = connect({ host: '127.0.0.1', port });
    try {
      await once(socket, 'connect');
      return;
    } catch (cause) {
      if (!isStarting() || performance.now() > deadline)
        throw new Error(`nobody listens on port ${port}`, { cause });
      await delay(50);
    } finally {
      socket.destroy();
    }
  }
}
