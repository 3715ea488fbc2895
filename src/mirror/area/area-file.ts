import { existsSync, statSync } from 'node:fs';
import { lstat, open, rename, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { errnoOf, openError } from '../../device/device-errors.js';
import { createImage, openFile, type FileDevice } from '../../device/file-device.js';
import { areaSizeBytes } from '../../protocol/area-layout.js';
import type { SecondArea } from './provider.js';
import { AreaStore, type NewSuperblock, type OpenedArea } from './area-store.js';

/** An area in a file of its own, beside a local component that has no room for one. The same bytes, from offset 0 on. */
export interface AreaFile {
  readonly store: AreaStore;
  /** Closes the file. */
  close(): Promise<void>;
}

/** Systems that can't sync a folder say one of these. */
const CANNOT_SYNC = ['EINVAL', 'EISDIR', 'EACCES', 'EPERM', 'EBADF', 'EOPNOTSUPP'];

/**
 * Makes a sparse file with a new area; file and name are on stable storage when it resolves. Throws DeviceError:
 * DEVICE_OPEN, EEXIST if there is something at `path` already, else what the file system says.
 */
export async function createAreaFile(path: string, superblock: NewSuperblock): Promise<AreaFile> {
  await createImage(path, areaSizeBytes(superblock.mediaSizeBytes));
  const device = await openAreaDevice(path, 'rw');
  try {
    const store = await AreaStore.create(device, 0, superblock);
    await syncFolder(path);
    return { store, close: () => device.close() };
  } catch (cause) {
    await device.close();
    // It is ours and of no use, and would be in the way of the next try.
    await unlink(path).catch(() => undefined);
    throw cause;
  }
}

/**
 * Opens the area in a file. The file is closed again unless the state is 'ok'. Throws DeviceError (DEVICE_OPEN, also for
 * a file that is not there).
 */
export async function openAreaFile(
  path: string,
  access: 'ro' | 'rw' = 'rw',
): Promise<
  Exclude<OpenedArea, { state: 'ok' }> | (AreaFile & { readonly state: 'ok'; readonly isRepaired: boolean })
> {
  const device = await openAreaDevice(path, access);
  let opened: OpenedArea | null = null;
  try {
    opened = await AreaStore.open(device, 0);
  } finally {
    if (opened?.state !== 'ok') await device.close();
  }
  return opened.state === 'ok' ? { ...opened, close: () => device.close() } : opened;
}

/** Removes an area, and nothing else. Throws DeviceError: DEVICE_OPEN, DEVICE_REFUSED if a mirror uses it. */
export async function removeAreaFile(path: string): Promise<void> {
  const device = await openAreaDevice(path);
  try {
    const opened = await AreaStore.open(device, 0);
    if (opened.state === 'none') throw openError(path, 'EFTYPE', 'is no area file, and was left alone');
    await unlink(path);
  } finally {
    await device.close();
  }
}

/** What a resize makes beside the area file at `path`: its name has '.resized' behind, and whatever is there is ours. */
export function secondAreaOf(path: string): SecondArea {
  const second = `${path}.resized`;
  const drop = async (): Promise<void> => {
    if (!existsSync(second)) return;
    await changing(second, "can't be removed", unlink(second));
    await syncFolder(second);
  };
  return {
    // One that is empty was being made when somebody was interrupted.
    open: async () =>
      (statSync(second, { throwIfNoEntry: false })?.size ?? 0) === 0 ? null : await openAreaDevice(second),
    make: async (sizeBytes) => {
      await drop();
      await createImage(second, sizeBytes);
      await syncFolder(second);
      return await openAreaDevice(second);
    },
    keep: async () => {
      await changing(second, `can't take the place of ${path}`, rename(second, path));
      await syncFolder(path);
    },
    drop,
  };
}

async function changing(path: string, what: string, change: Promise<void>): Promise<void> {
  try {
    await change;
  } catch (cause) {
    throw openError(`area file ${path}`, errnoOf(cause), what, cause);
  }
}

/** Removes the file of an area that has been erased and closed; a disk in its place is only empty then. Throws DeviceError. */
export async function removeErasedArea(path: string): Promise<void> {
  try {
    if (!(await lstat(path)).isFile()) return;
    await unlink(path);
  } catch (cause) {
    throw openError(`area file ${path}`, errnoOf(cause), "is empty now, but can't be removed", cause);
  }
  await syncFolder(path);
  await secondAreaOf(path).drop();
}

/** The file alone, whatever it holds. Throws DeviceError: DEVICE_OPEN, DEVICE_REFUSED if somebody else has it open. */
export const openAreaDevice = (path: string, access: 'ro' | 'rw' = 'rw'): Promise<FileDevice> =>
  openFile(path, { access, name: `area file ${path}`, alone: access === 'rw' });

async function syncFolder(path: string): Promise<void> {
  try {
    const folder = await open(dirname(path), 'r');
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  } catch (cause) {
    const errno = errnoOf(cause);
    if (!CANNOT_SYNC.includes(errno)) throw openError(path, errno, "can't be made durable", cause);
  }
}
