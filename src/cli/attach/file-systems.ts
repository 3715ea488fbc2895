import { statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { readSysfs } from '../../device/platform/disks.js';
import { linuxMounts } from '../../device/platform/mounts.js';
import { CommandError } from '../errors.js';
import { needSuccess, runProgram, type System, waitFor } from './system.js';
import { usersOf } from './users.js';

/** Programs that look at everything new let go again within this. */
const PASSING_MS = 2_000;

/** Where the file system of a device is mounted, in the order of mounting. */
export async function mountPointsOf(system: System, device: string): Promise<readonly string[]> {
  if (system.platform !== 'linux') return await mountPointsOnFreebsd(system, device);
  const number = await readSysfs(join(system.sysFolder, 'class/block', basename(device), 'dev'));
  const mounts = await linuxMounts(join(system.procFolder, 'self/mountinfo'));
  return mounts
    .filter((mount) => mount.number === number || mount.source === device)
    .map(({ mountPoint }) => mountPoint);
}

/** Fields of `mount -p`, as in fstab: device, mount point, and more. Source: mount(8). */
async function mountPointsOnFreebsd(system: System, device: string): Promise<string[]> {
  const lines = (await needSuccess(system, 'mount', ['-p'])).split('\n').map((line) => line.split(/\s+/));
  return lines.flatMap(([source, mountPoint]) =>
    source === device && mountPoint !== undefined ? mountPoint : [],
  );
}

/** Throws CommandError unless something can be mounted there. */
export function checkMountPoint(folder: string): void {
  const found = statSync(folder, { throwIfNoEntry: false });
  if (found === undefined) throw new CommandError(`${folder} is not there; make the folder first`);
  if (!found.isDirectory()) throw new CommandError(`${folder} is no folder`);
}

/** What `mount` calls the file system of a device; null without one. */
export async function fileSystemOf(system: System, device: string): Promise<string | null> {
  const isLinux = system.platform === 'linux';
  const { code, stdout } = isLinux
    ? await runProgram(system, 'blkid', ['-p', '-o', 'value', '-s', 'TYPE', device])
    : await runProgram(system, 'fstyp', [device]);
  return code === 0 && stdout !== '' ? stdout : null;
}

/** Rejects with CommandError, in the words of mount(8). */
export async function mountOn(
  system: System,
  { device, type }: { readonly device: string; readonly type: string },
  folder: string,
): Promise<void> {
  await needSuccess(system, 'mount', ['-t', type, device, folder]);
}

/** Unmounts a file system, or if it is in use and `isLazy`, as soon as it isn't. Rejects with CommandError. */
export async function unmount(system: System, mountPoint: string, isLazy: boolean): Promise<void> {
  const last = { stderr: '' };
  const attempt = async (): Promise<string | null> => {
    const { code, stderr } = await runProgram(system, 'umount', [mountPoint]);
    last.stderr = stderr;
    if (code === 0) return '';
    return isLazy ? 'in use' : await usersOf(system, mountPoint);
  };
  const users = await waitFor(system, PASSING_MS, attempt);
  if (users === '') return;
  if (isLazy) {
    // What its users have written so far shall not depend on what becomes of the device.
    await runProgram(system, 'sync', ['-f', mountPoint]);
    await needSuccess(system, 'umount', [system.platform === 'linux' ? '-l' : '-f', mountPoint]);
    return;
  }
  if (users === null) throw new CommandError(last.stderr);
  throw new CommandError(`${mountPoint} is in use by ${users}; end that first, or add -f`);
}
