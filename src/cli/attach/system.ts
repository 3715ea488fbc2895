import { spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';
import { delay, systemClock, type Clock } from '../../device/clock.js';
import { bootId } from '../../device/platform/boot-id.js';
import { CommandError } from '../errors.js';

/** What the kernel shows and which programs there are, so that tests can give something else. */
export interface System {
  readonly platform: string;
  readonly sysFolder: string;
  readonly procFolder: string;
  readonly devFolder: string;
  /** Where programs are looked for, in this order. */
  readonly programFolders: readonly string[];
  /** Changes when the host restarts: nothing of before is there any more. */
  readonly bootId: string;
  readonly clock: Clock;
}

/** The shells of administrators don't always have the last two. */
const SYSTEM_FOLDERS = ['/usr/sbin', '/sbin'];

export const thisSystem = (): System => ({
  platform: process.platform,
  sysFolder: '/sys',
  procFolder: '/proc',
  devFolder: '/dev',
  programFolders: [...(process.env['PATH'] ?? '').split(':').filter(Boolean), ...SYSTEM_FOLDERS],
  bootId: bootId().bytes.toString('hex'),
  clock: systemClock,
});

/** What to install where a program is missing. */
const PACKAGES: Readonly<Record<string, string>> = {
  nbdfuse: 'libnbd-bin on Debian and Ubuntu, nbdfuse on Fedora',
  'nbd-client': 'nbd-client on Debian and Ubuntu, nbd on Fedora',
  losetup: 'util-linux',
  blkid: 'util-linux',
  mount: 'util-linux',
  umount: 'util-linux',
};

/** Null if there is no such program. */
export function findProgram({ programFolders }: System, program: string): string | null {
  for (const folder of programFolders) {
    const path = join(folder, program);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // In none of the folders so far.
    }
  }
  return null;
}

/** Its path. Throws CommandError, which says what to install. */
export function needProgram(system: System, program: string): string {
  const path = findProgram(system, program);
  if (path !== null) return path;
  const packages = PACKAGES[program];
  const hint = packages === undefined ? '' : `; install it (package ${packages})`;
  throw new CommandError(`the program ${program} is needed and not there${hint}`);
}

export interface ProgramResult {
  /** Null if a signal ended it. */
  readonly code: number | null;
  readonly stdout: string;
  /** On one line. */
  readonly stderr: string;
}

/** Runs a program to its end, which may take what a disk takes. Rejects with CommandError if it isn't there. */
export async function runProgram(
  system: System,
  program: string,
  words: readonly string[],
): Promise<ProgramResult> {
  const child = spawn(needProgram(system, program), words, { stdio: ['ignore', 'pipe', 'pipe'] });
  const said = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => (said.stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said.stderr += text));
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  return { code, stdout: said.stdout.trim(), stderr: oneLine(said.stderr) };
}

/** The same, for a program that has to succeed: gives what it printed. Rejects with CommandError. */
export async function needSuccess(
  system: System,
  program: string,
  words: readonly string[],
): Promise<string> {
  const { code, stdout, stderr } = await runProgram(system, program, words);
  if (code === 0) return stdout;
  throw new CommandError(stderr === '' ? `${program} failed (exit code ${String(code)})` : stderr);
}

export const oneLine = (text: string): string => text.trim().replaceAll(/\s*\n\s*/g, '; ');

const POLL_MS = 25;

/** Looks until there is something to see, for `limitMs` at most; then null. */
export async function waitFor<Seen>(
  { clock }: System,
  limitMs: number,
  look: () => Seen | null | Promise<Seen | null>,
): Promise<Seen | null> {
  const endMs = clock.nowMs() + limitMs;
  for (;;) {
    const seen = await look();
    if (seen !== null || clock.nowMs() >= endMs) return seen;
    await delay(clock, POLL_MS);
  }
}
