import { execFile } from 'node:child_process';
import { promises as fs } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { ByteRange } from '../../protocol/geometry.js';
import { unsupported } from './files.js';
import { native as systemNative, type Native } from './native.js';

/** Source: FreeBSD 12.1 sys/disk.h, sys/ioccom.h. */
const FREEBSD_IOCTL = {
  sectorSize: 0x4004_6480, // DIOCGSECTORSIZE: u_int
  mediaSize: 0x4008_6481, // DIOCGMEDIASIZE: off_t
  flush: 0x2000_6487, // DIOCGFLUSH
  delete: 0x8010_6488, // DIOCGDELETE: off_t offset, off_t length
  attribute: 0xc148_648e, // DIOCGATTR: struct diocgattr_arg
} as const;
/** struct diocgattr_arg: name, size of the value, a union aligned to 8 bytes. Source: FreeBSD 12.1 sys/disk.h. */
const ATTRIBUTE = { nameAt: 0, sizeAt: 64, valueAt: 72, sizeBytes: 328 } as const;

/** Source: linux/fs.h. */
const LINUX_IOCTL = {
  mediaSize: 0x8008_1272, // BLKGETSIZE64: u64, in bytes
  sectorSize: 0x1268, // BLKSSZGET: int
  discard: 0x1277, // BLKDISCARD: u64 offset, u64 length
  zeroOut: 0x127f, // BLKZEROOUT: u64 offset, u64 length
} as const;

/** Sysfs counts in these, whatever the disk's sectors are. */
const SYSFS_UNIT_BYTES = 512;

export interface DiskSize {
  readonly mediaSizeBytes: number;
  readonly sectorSizeBytes: number;
}

/** What asking a disk needs, so that tests can give something else. */
export interface DiskSources {
  readonly native: Native | null;
  readonly sysFolder: string;
  /** Runs a program and gives what it printed; rejects when it fails. */
  run(program: string, args: readonly string[]): Promise<string>;
}

export const systemSources = (): DiskSources => ({
  native: systemNative(),
  sysFolder: '/sys',
  run: async (program, args) =>
    (await promisify(execFile)(program, args, { encoding: 'utf8', timeout: 10_000 })).stdout,
});

/** The folder of sysfs that describes a Linux block device. `rdev` as stat gives it. */
export function sysfsFolder(rdev: number, sysFolder: string): string {
  const { major, minor } = deviceNumbers(rdev);
  return join(sysFolder, 'dev/block', `${major}:${minor}`);
}

/** Major and minor of a Linux device number: minor bits 0 to 7, major 8 to 19, minor 20 to 31. Source: sys/sysmacros.h. */
export function deviceNumbers(rdev: number): { major: number; minor: number } {
  const low = rdev % 2 ** 32;
  return {
    major: Math.floor(low / 2 ** 8) % 2 ** 12,
    minor: (low % 2 ** 8) + Math.floor(low / 2 ** 20) * 2 ** 8,
  };
}

/** A file of sysfs, trimmed; null where there is none. */
export async function readSysfs(path: string): Promise<string | null> {
  try {
    return (await fs.readFile(path, 'utf8')).trim();
  } catch {
    return null;
  }
}

/** A limit or size of a Linux disk's queue. A partition has none of its own, so its disk is asked. */
export async function readQueue(folder: string, name: string): Promise<number | null> {
  const text =
    (await readSysfs(join(folder, 'queue', name))) ??
    // Not path.join: the folder is a symbolic link, and '..' has to be taken where it leads.
    (await readSysfs(`${folder}/../queue/${name}`));
  return text === null || !/^\d+$/.test(text) ? null : Number(text);
}

/** Size of a Linux block device: from sysfs, else by ioctl. Throws an Error with `code`. */
export async function linuxDiskSize(fd: number, rdev: number, sources: DiskSources): Promise<DiskSize> {
  const folder = sysfsFolder(rdev, sources.sysFolder);
  const size = await readSysfs(join(folder, 'size'));
  const sectorSizeBytes = await readQueue(folder, 'logical_block_size');
  if (size !== null && sectorSizeBytes !== null) {
    return { mediaSizeBytes: Number(size) * SYSFS_UNIT_BYTES, sectorSizeBytes };
  }
  const { native } = sources;
  if (native === null) throw unsupported('neither sysfs nor the optional package koffi is there to ask');
  const memory = Buffer.alloc(8);
  native.call('ioctl', fd, LINUX_IOCTL.sectorSize, memory);
  const sectorBytes = memory.readInt32LE();
  native.call('ioctl', fd, LINUX_IOCTL.mediaSize, memory);
  return { mediaSizeBytes: Number(memory.readBigUInt64LE()), sectorSizeBytes: sectorBytes };
}

/** Size of a FreeBSD disk: by ioctl, else from diskinfo(8). Throws an Error, ENODEV for what is no disk. */
export async function freebsdDiskSize(fd: number, path: string, sources: DiskSources): Promise<DiskSize> {
  const { native } = sources;
  if (native === null) {
    return parseDiskinfo(path, await sources.run('/usr/sbin/diskinfo', [path]));
  }
  const memory = Buffer.alloc(8);
  native.call('ioctl', fd, FREEBSD_IOCTL.sectorSize, memory);
  const sectorSizeBytes = memory.readUInt32LE();
  native.call('ioctl', fd, FREEBSD_IOCTL.mediaSize, memory);
  return { mediaSizeBytes: Number(memory.readBigInt64LE()), sectorSizeBytes };
}

/** Its one line: the name, then, with tabs between: sector size, media size in bytes, media size in sectors, more. */
function parseDiskinfo(path: string, printed: string): DiskSize {
  const line = printed.split('\n').find((each) => each.startsWith(path)) ?? '';
  const [sectorSize, mediaSize] = line.slice(path.length).trim().split(/\s+/);
  if (!/^\d+$/.test(sectorSize ?? '') || !/^\d+$/.test(mediaSize ?? '')) {
    throw Object.assign(new Error(`diskinfo printed no sizes: ${printed.trim()}`), { code: 'ENODEV' });
  }
  return { mediaSizeBytes: Number(mediaSize), sectorSizeBytes: Number(sectorSize) };
}

/** Whether the disk says that it can discard. */
export async function canDiscard(fd: number, rdev: number, sources = systemSources()): Promise<boolean> {
  const { native } = sources;
  if (native === null) return false;
  if (native.system === 'linux') {
    return ((await readQueue(sysfsFolder(rdev, sources.sysFolder), 'discard_max_bytes')) ?? 0) > 0;
  }
  const attribute = Buffer.alloc(ATTRIBUTE.sizeBytes);
  attribute.write('GEOM::candelete', ATTRIBUTE.nameAt, 'latin1');
  attribute.writeInt32LE(4, ATTRIBUTE.sizeAt);
  try {
    native.call('ioctl', fd, FREEBSD_IOCTL.attribute, attribute);
  } catch {
    return false; // Before FreeBSD 9, and for providers that don't know the question.
  }
  return attribute.readInt32LE(ATTRIBUTE.valueAt) !== 0;
}

/** Tells a disk that a range is unused. Rejects with an Error with `code`. */
export async function discard(fd: number, range: ByteRange, native = systemNative()): Promise<void> {
  if (native === null) throw unsupported('discarding needs the optional package koffi');
  const request = native.system === 'linux' ? LINUX_IOCTL.discard : FREEBSD_IOCTL.delete;
  await native.callAsync('ioctl', fd, request, rangeMemory(range));
}

/** Lets a Linux disk, or the kernel for it, write zeroes. Rejects with an Error with `code`, EOPNOTSUPP elsewhere. */
export async function zeroOut(fd: number, range: ByteRange, native = systemNative()): Promise<void> {
  if (native?.system !== 'linux') throw unsupported('disks are zeroed by plain writes here');
  await native.callAsync('ioctl', fd, LINUX_IOCTL.zeroOut, rangeMemory(range));
}

/**
 * Empties the write cache of a FreeBSD disk, whose fsync does not: its writes go straight to the disk, and only this
 * tells it to make them durable. Rejects with an Error with `code`, EOPNOTSUPP elsewhere.
 */
export async function flushDiskCache(fd: number, native = systemNative()): Promise<void> {
  if (native?.system !== 'freebsd') throw unsupported('fsync does this here');
  await native.callAsync('ioctl', fd, FREEBSD_IOCTL.flush, Buffer.alloc(8));
}

function rangeMemory({ offsetBytes, lengthBytes }: ByteRange): Buffer {
  const memory = Buffer.alloc(16);
  memory.writeBigUInt64LE(BigInt(offsetBytes), 0);
  memory.writeBigUInt64LE(BigInt(lengthBytes), 8);
  return memory;
}
