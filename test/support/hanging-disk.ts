import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { pauseFamily } from './processes.js';
import { until } from './until.js';

const TOOLS = ['nbdkit', 'nbdfuse', 'fusermount3'];

/** Why there can be no such disk here; null if there can. */
export function noHangingDisk(): string | null {
  const missing = TOOLS.filter((tool) => !isOnPath(tool));
  if (missing.length > 0) return `needs ${missing.join(', ')}`;
  return existsSync('/dev/fuse') ? null : 'needs FUSE';
}

const isOnPath = (tool: string): boolean =>
  (process.env['PATH'] ?? '').split(':').some((folder) => existsSync(join(folder, tool)));

/**
 * A file of 16 MiB that hangs as a disk does which has lost its cable. The kernel caches whole pages of it, so only what
 * it must fetch waits: reads of what was never touched, and writes of parts of such pages.
 */
export interface HangingDisk {
  readonly path: string;
  /** Resolves when it answers nothing any more. */
  hang(): Promise<void>;
  recover(): void;
  /** While it hangs: resolves when a thread of this process waits for it. */
  waitedFor(): Promise<void>;
  remove(): Promise<void>;
}

/** Two programs serve it: nbdkit holds the data and is stopped at will, nbdfuse makes a file of it. */
export async function makeHangingDisk(folder: string): Promise<HangingDisk> {
  const socket = join(folder, 'nbd.sock');
  const mountPoint = join(folder, 'mnt');
  mkdirSync(mountPoint);
  const path = join(mountPoint, 'disk.img');
  const programs: ChildProcess[] = [];
  const start = (program: string, words: string[]): ChildProcess => {
    const child = spawn(program, words, { stdio: 'ignore' });
    programs.push(child);
    return child;
  };
  const data = start('nbdkit', ['-f', '-U', socket, 'memory', '16M']);
  const remove = async (): Promise<void> => {
    data.kill('SIGCONT');
    try {
      execFileSync('fusermount3', ['-u', '-z', mountPoint], { stdio: 'ignore' });
    } catch {
      // It was never mounted.
    }
    for (const child of programs) child.kill('SIGKILL');
    await until('the end of nbdkit and nbdfuse', () =>
      programs.every(({ exitCode, signalCode }) => exitCode !== null || signalCode !== null),
    );
  };
  try {
    await until('nbdkit', () => existsSync(socket));
    start('nbdfuse', [path, '--unix', socket]);
    await until('the file', () => existsSync(path));
  } catch (error) {
    await remove();
    throw error;
  }
  const hang = async (): Promise<void> => {
    if (data.pid === undefined) throw new Error('nbdkit has not been started');
    await pauseFamily(data.pid);
  };
  const recover = (): void => void data.kill('SIGCONT');
  return { path, hang, recover, waitedFor: () => someThreadIsAt(path), remove };
}

/** What does not hang holds a thread up for a moment, too, so it has to be the same one several times. */
const LOOKS = 5;

async function someThreadIsAt(path: string): Promise<void> {
  let seen: readonly string[] = [];
  let looks = 0;
  await until(`a thread that waits for ${path}`, () => {
    const now = threadsAt(path);
    const same = seen.filter((id) => now.includes(id));
    looks = same.length > 0 ? looks + 1 : 0;
    seen = same.length > 0 ? same : now;
    return looks >= LOOKS;
  });
}

/**
 * Threads of this process that are in a system call on that file. Source: proc(5), /proc/PID/task/TID/syscall: the number of
 * the call and its arguments in hexadecimal, of which the descriptor is the first; other words while the thread runs.
 */
function threadsAt(path: string): string[] {
  const opened = readdirSync('/proc/self/fd').filter(
    (fd) => contentOf(() => readlinkSync(`/proc/self/fd/${fd}`)) === path,
  );
  const descriptors = opened.map((fd) => `0x${Number(fd).toString(16)}`);
  return readdirSync('/proc/self/task').filter((id) => {
    const [, first = ''] = contentOf(() => readFileSync(`/proc/self/task/${id}/syscall`, 'latin1')).split(
      ' ',
    );
    return descriptors.includes(first);
  });
}

/** Descriptors and threads come and go while one looks. */
function contentOf(look: () => string): string {
  try {
    return look();
  } catch {
    return '';
  }
}
