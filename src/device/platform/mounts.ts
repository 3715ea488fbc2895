import { readSysfs } from './disks.js';

/** Something that is mounted, as the kernel tells it. */
export interface Mount {
  /** 'MAJOR:MINOR' of the disk, or of no disk: btrfs and others have numbers of their own. */
  readonly number: string;
  readonly mountPoint: string;
  /** Mostly a path; whatever the file system calls its source. */
  readonly source: string;
}

/**
 * In the order of mounting; nothing if it can't be read. Lines of /proc/self/mountinfo: id, parent, device, root, mount
 * point, …, '-', type, source. Source: proc(5).
 */
export async function linuxMounts(mountinfoPath: string): Promise<readonly Mount[]> {
  const lines = (await readSysfs(mountinfoPath))?.split('\n') ?? [];
  return lines.flatMap((line) => {
    const words = line.split(' ');
    const [number, mountPoint, source] = [words[2], words[4], words[words.indexOf('-') + 2]];
    if (number === undefined || mountPoint === undefined || source === undefined) return [];
    return [{ number, mountPoint: unescaped(mountPoint), source: unescaped(source) }];
  });
}

/** Blanks and backslashes are written as three octal digits. */
export const unescaped = (word: string): string =>
  word.replaceAll(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
