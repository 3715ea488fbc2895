import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { CommandError } from '../errors.js';

/** How a block device is made of a mirror. */
export const WAYS = ['nbd', 'nbdfuse', 'ggate'] as const;
export type Way = (typeof WAYS)[number];

/** What `attach` writes down in the run directory; what has become of it since, only the kernel knows. */
export interface AttachRecord {
  readonly way: Way;
  /** '/dev/loop3'. */
  readonly device: string;
  /** The one that the kernel's NBD names as its connection's; null for other ways. */
  readonly pid: number | null;
  /** The daemon whose mirror it is: without that one the device is dead. */
  readonly daemonPid: number;
  /** Of another boot nothing is there any more. */
  readonly bootId: string;
}

/** Null if there is none. Throws CommandError for a file that can't be ours, and what the system says. */
export function readRecord(path: string): AttachRecord | null {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
  const record = parse(text);
  if (record === null) throw new CommandError(`${path} is damaged; look what is attached, and remove it`);
  return record;
}

/** Whoever reads sees all of it or none. */
export function writeRecord(path: string, record: AttachRecord): void {
  writeFileSync(`${path}.new`, `${JSON.stringify(record)}\n`, { mode: 0o644 });
  renameSync(`${path}.new`, path);
}

export const removeRecord = (path: string): void => rmSync(path, { force: true });

function parse(text: string): AttachRecord | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  if (typeof value !== 'object' || value === null) return null;
  const { way, device, pid, daemonPid, bootId } = value as Readonly<Record<string, unknown>>;
  const known = WAYS.find((one) => one === way);
  if (known === undefined || typeof device !== 'string' || typeof bootId !== 'string') return null;
  if (!isPid(daemonPid) || (pid !== null && !isPid(pid))) return null;
  return { way: known, device, pid, daemonPid, bootId };
}

const isPid = (value: unknown): value is number => Number.isSafeInteger(value) && Number(value) > 1;
