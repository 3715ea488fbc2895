import { spawnSync } from 'node:child_process';
import type { ByteRange } from '../../protocol/geometry.js';
import { errnoOf } from '../device-errors.js';
import { native as systemNative, type Native } from './native.js';

/** Same numbers on both systems. Source: sys/file.h, fcntl.h of FreeBSD 12.1 and Linux. */
const LOCK_EX = 2;
const LOCK_NB = 4;
/** Source: sys/unistd.h of FreeBSD 12.1, linux/fs.h. */
const SEEK_DATA = 3;
const SEEK_HOLE = 4;
/** FALLOC_FL_PUNCH_HOLE with FALLOC_FL_KEEP_SIZE. Source: linux/falloc.h. */
const PUNCH_HOLE_KEEP_SIZE = 3;
/** Source: FreeBSD 14 sys/fcntl.h. */
const SPACECTL_DEALLOC = 1;
/** struct spacectl_range: two off_t, offset and length. Source: FreeBSD 14 sys/fcntl.h. */
const SPACECTL_RANGE = { offsetAt: 0, lengthAt: 8, sizeBytes: 16 } as const;

export type LockOutcome = 'locked' | 'held' | 'unsupported';

/**
 * Takes flock's exclusive lock without waiting; it lasts as long as the open file. 'unsupported': it can't be asked for
 * here (neither C library nor the program flock, or a file system without locks), and nothing is known about others.
 */
export function lockFileExclusive(
  fd: number,
  native = systemNative(),
  lockByProgram = runFlock,
): LockOutcome {
  if (native === null) return lockByProgram(fd);
  try {
    native.call('flock', fd, LOCK_EX + LOCK_NB);
    return 'locked';
  } catch (cause) {
    return errnoOf(cause) === 'EAGAIN' ? 'held' : 'unsupported';
  }
}

/** flock(1) of util-linux and BusyBox locks a descriptor that it is given; the lock is the open file's, so it stays. */
function runFlock(fd: number): LockOutcome {
  const stdio = ['ignore', 'ignore', 'ignore', fd] as const;
  const { status } = spawnSync('flock', ['-x', '-n', '3'], { stdio: [...stdio], timeout: 5_000 });
  if (status === 0) return 'locked';
  return status === 1 ? 'held' : 'unsupported';
}

/**
 * Gives back the space of a range of a regular file; it reads as zeroes afterwards, and the file keeps its size.
 * Rejects with an Error with `code`, EOPNOTSUPP if system or file system have no holes. On FreeBSD from 14 on a file
 * system without holes writes zeroes instead.
 */
export async function punchHole(fd: number, range: ByteRange, native = systemNative()): Promise<void> {
  const { offsetBytes, lengthBytes } = range;
  if (native === null) throw unsupported('holes need the optional package koffi');
  if (native.system === 'linux') {
    const [offset, length] = [BigInt(offsetBytes), BigInt(lengthBytes)];
    await native.callAsync('fallocate', fd, PUNCH_HOLE_KEEP_SIZE, offset, length);
    return;
  }
  await deallocate(fd, range, native);
}

/** fspacectl may stop half-way and says in its last argument what is left. */
async function deallocate(
  fd: number,
  { offsetBytes, lengthBytes }: ByteRange,
  native: Native,
): Promise<void> {
  const wanted = Buffer.alloc(SPACECTL_RANGE.sizeBytes);
  const left = Buffer.alloc(SPACECTL_RANGE.sizeBytes);
  left.writeBigInt64LE(BigInt(offsetBytes), SPACECTL_RANGE.offsetAt);
  left.writeBigInt64LE(BigInt(lengthBytes), SPACECTL_RANGE.lengthAt);
  while (left.readBigInt64LE(SPACECTL_RANGE.lengthAt) > 0n) {
    left.copy(wanted);
    await native.callAsync('fspacectl', fd, SPACECTL_DEALLOC, wanted, 0, left);
  }
}

/**
 * The next stretch of a regular file at or after `offsetBytes` that holds data, as the file system sees it; null if
 * only holes follow. A file system that doesn't know calls everything data. Rejects with an Error with `code`:
 * EOPNOTSUPP without the C library or for what isn't a regular file.
 */
export async function nextDataRange(
  fd: number,
  offsetBytes: number,
  native = systemNative(),
): Promise<ByteRange | null> {
  if (native === null) throw unsupported('a map of holes needs the optional package koffi');
  try {
    // The shared file offset that lseek moves is used by nobody: all our reads and writes name their offset.
    const dataAt = await native.callAsync('lseek', fd, BigInt(offsetBytes), SEEK_DATA);
    const holeAt = await native.callAsync('lseek', fd, BigInt(dataAt), SEEK_HOLE);
    // Someone who punches a hole between the two calls makes the range empty; it is data to us then, to be safe.
    return { offsetBytes: dataAt, lengthBytes: Math.max(holeAt - dataAt, 1) };
  } catch (cause) {
    const errno = errnoOf(cause);
    if (errno === 'ENXIO') return null;
    throw errno === 'EINVAL' || errno === 'ENOTTY' ? unsupported('this has no map of holes') : cause;
  }
}

export function unsupported(why: string): Error {
  return Object.assign(new Error(why), { code: 'EOPNOTSUPP' });
}
