import { constants, promises as fs, type BigIntStats } from 'node:fs';
import { resolve } from 'node:path';
import type { AccessMode } from '../protocol/handshake.js';
import { isPowerOfTwo } from '../protocol/geometry.js';
import { errnoOf, openError } from './device-errors.js';
import {
  freebsdDiskSize,
  linuxDiskSize,
  readSysfs,
  sysfsFolder,
  systemSources,
  type DiskSize,
  type DiskSources,
} from './platform/disks.js';

export type MediaKind = 'file' | 'disk';

/** What a path holds, before it is served or opened. */
export interface MediaInfo {
  readonly kind: MediaKind;
  /** A multiple of the sector size, greater than 0. */
  readonly mediaSizeBytes: number;
  /** 512 for a file, as ggated has it; what a disk says. A power of two. */
  readonly sectorSizeBytes: number;
  /** The medium can't be written by us: a read-only disk or file system, or no permission. */
  readonly isReadOnly: boolean;
  /** Equal for the same file or disk however its path is spelled, through links too. Good until the host restarts. */
  readonly identity: string;
  /** Something a person should know, for the log; null mostly. */
  readonly note: string | null;
}

const FILE_SECTOR_BYTES = 512;

const OPEN_FLAGS: Readonly<Record<AccessMode, number>> = {
  ro: constants.O_RDONLY,
  wo: constants.O_WRONLY,
  rw: constants.O_RDWR,
};

/**
 * Looks at a regular file or a disk, and opens it once in the wanted mode to learn whether that works. Nothing else is
 * opened: a pipe would wait for its other end, a tape would rewind. Throws DeviceError (DEVICE_OPEN) with the errno of
 * the system, EISDIR for a folder, EFTYPE for pipes, sockets and terminals, ENODEV for devices that are no disks, and
 * EINVAL for a medium without a whole sector.
 */
export async function probeMedia(
  path: string,
  access: AccessMode,
  sources: DiskSources = systemSources(),
  platform: string = process.platform,
): Promise<MediaInfo> {
  const stat = await statOf(path);
  const kind = kindOf(path, stat, platform);
  const handle = await openForProbe(path, access);
  try {
    const opened = await handle.stat({ bigint: true });
    if (opened.dev !== stat.dev || opened.ino !== stat.ino || opened.rdev !== stat.rdev) {
      throw openError(path, 'EBUSY', 'was replaced while it was looked at; try again');
    }
    if (kind === 'file') return fileInfo(path, opened, await isWriteRefused(path));
    const size = await diskSize(path, handle.fd, opened, sources, platform);
    const isDiskReadOnly = await saysReadOnly(opened, sources);
    // Linux opens a read-only disk for writing and fails each write later.
    if (isDiskReadOnly && access !== 'ro') throw openError(path, 'EROFS', "can't be opened for writing");
    const isReadOnly = isDiskReadOnly || (await isWriteRefused(path));
    return { kind, ...checkedSize(path, size), isReadOnly, identity: `disk ${opened.rdev.toString()}` };
  } finally {
    await handle.close();
  }
}

async function statOf(path: string): Promise<BigIntStats> {
  try {
    return await fs.stat(path, { bigint: true });
  } catch (cause) {
    throw openError(path, errnoOf(cause), "can't be looked at", cause);
  }
}

function kindOf(path: string, stat: BigIntStats, platform: string): MediaKind {
  if (stat.isFile()) return 'file';
  // FreeBSD's disks are character devices; on Linux no character device is a disk.
  if (stat.isBlockDevice() || (stat.isCharacterDevice() && platform === 'freebsd')) return 'disk';
  if (stat.isDirectory()) throw openError(path, 'EISDIR', 'is a folder');
  if (stat.isCharacterDevice()) throw openError(path, 'ENODEV', 'is a device, but not a disk');
  throw openError(path, 'EFTYPE', 'is neither a regular file nor a disk');
}

async function openForProbe(path: string, access: AccessMode): Promise<fs.FileHandle> {
  // Files and disks don't care for O_NONBLOCK. A pipe put in the place of what stat saw would not keep us waiting, and
  // a terminal would not become ours.
  const { O_NONBLOCK, O_NOCTTY } = constants;
  try {
    return await fs.open(path, OPEN_FLAGS[access] + O_NONBLOCK + O_NOCTTY);
  } catch (cause) {
    const how = access === 'ro' ? 'reading' : access === 'wo' ? 'writing' : 'reading and writing';
    throw openError(path, errnoOf(cause), `can't be opened for ${how}`, cause);
  }
}

function fileInfo(path: string, stat: BigIntStats, isReadOnly: boolean): MediaInfo {
  const identity = `file ${stat.dev.toString()}:${stat.ino.toString()}`;
  const size = { mediaSizeBytes: Number(stat.size), sectorSizeBytes: FILE_SECTOR_BYTES };
  return { kind: 'file', ...checkedSize(path, size), isReadOnly, identity };
}

/** A file's rest behind its last whole sector is left out, where ggated offers a disk that ends inside a sector. */
function checkedSize(path: string, size: DiskSize): DiskSize & { note: string | null } {
  const { sectorSizeBytes } = size;
  if (!isPowerOfTwo(sectorSizeBytes)) {
    throw openError(path, 'EINVAL', `has sectors of ${sectorSizeBytes} bytes, which is no power of two`);
  }
  if (!Number.isSafeInteger(size.mediaSizeBytes)) throw openError(path, 'EFBIG', 'has 2^53 bytes or more');
  const restBytes = size.mediaSizeBytes % sectorSizeBytes;
  const mediaSizeBytes = size.mediaSizeBytes - restBytes;
  if (mediaSizeBytes <= 0) {
    const what =
      size.mediaSizeBytes === 0 ? 'is empty' : `is smaller than a sector of ${sectorSizeBytes} bytes`;
    throw openError(path, 'EINVAL', `${what}; give it a size, with truncate(1) for a file`);
  }
  const note = restBytes === 0 ? null : `${path}: its last ${restBytes} bytes are no whole sector; left out`;
  return { mediaSizeBytes, sectorSizeBytes, note };
}

async function diskSize(
  path: string,
  fd: number,
  stat: BigIntStats,
  sources: DiskSources,
  platform: string,
): Promise<DiskSize> {
  try {
    return platform === 'freebsd'
      ? await freebsdDiskSize(fd, resolve(path), sources)
      : await linuxDiskSize(fd, Number(stat.rdev), sources);
  } catch (cause) {
    const errno = errnoOf(cause);
    // ENOTTY is how most devices say that they don't know what a media size is.
    throw openError(path, errno === 'ENOTTY' ? 'ENODEV' : errno, 'tells no size; it may be no disk', cause);
  }
}

async function saysReadOnly(stat: BigIntStats, sources: DiskSources): Promise<boolean> {
  return (await readSysfs(`${sysfsFolder(Number(stat.rdev), sources.sysFolder)}/ro`)) === '1';
}

async function isWriteRefused(path: string): Promise<boolean> {
  try {
    await fs.access(path, constants.W_OK);
    return false;
  } catch {
    return true;
  }
}
