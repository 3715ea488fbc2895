import { promises as fs, type BigIntStats } from 'node:fs';
import { join } from 'node:path';
import { deviceNumbers, readSysfs, sysfsFolder } from './disks.js';
import { linuxMounts, unescaped } from './mounts.js';

/** Where the kernel tells what is in use, so that tests can give something else. */
export interface UseSources {
  readonly mountinfoPath: string;
  readonly swapsPath: string;
  readonly sysFolder: string;
}

export const SYSTEM_USE: UseSources = {
  mountinfoPath: '/proc/self/mountinfo',
  swapsPath: '/proc/swaps',
  sysFolder: '/sys',
};

/** What is looked for: a file, or a disk with its partitions. */
interface Wanted {
  readonly stat: BigIntStats;
  /** 'MAJOR:MINOR' of the disk and each of its partitions; empty for a file. */
  readonly numbers: ReadonlySet<string>;
}

/**
 * What the kernel uses a file or disk for: 'is mounted on /home', 'is in use as swap space', 'backs /dev/loop3', 'is a
 * part of dm-0'; null if nothing. What can't be read is taken for unused: this warns people, it guards nothing.
 */
export async function linuxUse(path: string, sources: UseSources = SYSTEM_USE): Promise<string | null> {
  const stat = await statOf(path);
  if (stat === null) return null;
  const wanted = { stat, numbers: await numbersOf(stat, sources) };
  return (
    (await mountOf(wanted, sources)) ??
    (await swapOf(wanted, sources)) ??
    (await loopOf(wanted, sources)) ??
    (await holderOf(wanted, sources))
  );
}

async function statOf(path: string): Promise<BigIntStats | null> {
  try {
    return await fs.stat(path, { bigint: true });
  } catch {
    return null;
  }
}

async function numbersOf(stat: BigIntStats, { sysFolder }: UseSources): Promise<ReadonlySet<string>> {
  const numbers = new Set<string>();
  if (!stat.isBlockDevice()) return numbers;
  numbers.add(numberOf(stat));
  const folder = sysfsFolder(Number(stat.rdev), sysFolder);
  for (const name of await entriesOf(folder)) {
    if ((await readSysfs(join(folder, name, 'partition'))) === null) continue;
    const number = await readSysfs(join(folder, name, 'dev'));
    if (number !== null) numbers.add(number);
  }
  return numbers;
}

function numberOf(stat: BigIntStats): string {
  const { major, minor } = deviceNumbers(Number(stat.rdev));
  return `${major}:${minor}`;
}

/** Whether a path leads to what is looked for. */
async function isWanted(path: string, { stat, numbers }: Wanted): Promise<boolean> {
  const other = await statOf(path);
  if (other === null) return false;
  if (stat.isBlockDevice()) return other.isBlockDevice() && numbers.has(numberOf(other));
  return other.dev === stat.dev && other.ino === stat.ino;
}

async function mountOf(wanted: Wanted, sources: UseSources): Promise<string | null> {
  for (const { number, mountPoint, source } of await linuxMounts(sources.mountinfoPath)) {
    // Btrfs and others mount under a number that is no disk's; then only the source tells.
    const isMounted =
      wanted.numbers.has(number) || (source.startsWith('/') && (await isWanted(source, wanted)));
    if (isMounted) return `is mounted on ${mountPoint}`;
  }
  return null;
}

async function swapOf(wanted: Wanted, sources: UseSources): Promise<string | null> {
  for (const line of await linesOf(sources.swapsPath)) {
    const path = unescaped(line.split(/\s/)[0] ?? '');
    if (path.startsWith('/') && (await isWanted(path, wanted))) return 'is in use as swap space';
  }
  return null;
}

async function loopOf(wanted: Wanted, { sysFolder }: UseSources): Promise<string | null> {
  for (const name of await entriesOf(join(sysFolder, 'block'))) {
    if (!name.startsWith('loop')) continue;
    const path = await readSysfs(join(sysFolder, 'block', name, 'loop/backing_file'));
    if (path !== null && (await isWanted(path, wanted))) return `backs /dev/${name}`;
  }
  return null;
}

/** Device mapper and Linux RAID are holders of the disks under them. */
async function holderOf({ numbers }: Wanted, { sysFolder }: UseSources): Promise<string | null> {
  for (const number of numbers) {
    const [holder] = await entriesOf(join(sysFolder, 'dev/block', number, 'holders'));
    if (holder !== undefined) return `is a part of ${holder}`;
  }
  return null;
}

async function linesOf(path: string): Promise<readonly string[]> {
  return (await readSysfs(path))?.split('\n') ?? [];
}

async function entriesOf(folder: string): Promise<readonly string[]> {
  try {
    return await fs.readdir(folder);
  } catch {
    return [];
  }
}
