import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  openSync,
  readFileSync,
  statSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { messageOf } from '../../protocol/errors.js';
import { CommandError } from '../errors.js';

/** As the device layer's lockFileExclusive. Where nothing can be locked, whoever the file names is asked after. */
export type LockFile = (fd: number) => 'locked' | 'held' | 'unsupported';

/** FreeBSD's open(2) locks while it opens, which needs no foreign function. Source: FreeBSD 12.1 sys/fcntl.h. */
const FREEBSD_O_NONBLOCK_O_EXLOCK = 0x4 + 0x20;
/** Another instance may remove its file between our open and our lock; that happens once, not for ever. */
const TRIES_MAX = 5;

/**
 * The file that holds the daemon's pid, and by its lock keeps a second instance out. The lock is the kernel's, so a file
 * left behind by a crash doesn't keep anyone out. Node opens close-on-exec: session processes do not hold the lock, and
 * a restart works while one of them still lives.
 */
export class PidFile {
  private constructor(
    readonly path: string,
    private readonly fd: number,
  ) {}

  /**
   * Takes the file, with mode 0600, for this process; what it says stays until write(). Throws CommandError if another
   * instance has it, or if it can't be opened. `who`: what runs, for people.
   */
  static take(path: string, lock: LockFile, who = 'Daemon'): PidFile {
    for (let tries = 1; ; tries++) {
      const fd = openLocked(path, lock, who);
      if (isStillAt(fd, path)) return new PidFile(path, fd);
      closeSync(fd);
      if (tries === TRIES_MAX)
        throw new CommandError(`Cannot open pid file ${path}: it keeps being removed.`);
    }
  }

  /** Says who we are; the file is complete when this returns. */
  write(pid: number): void {
    ftruncateSync(this.fd, 0);
    writeSync(this.fd, `${pid}\n`, 0);
  }

  /** Never throws: it happens on the way out. Removed before the lock is gone, so a successor's file is never hit. */
  remove(): void {
    try {
      if (isStillAt(this.fd, this.path)) unlinkSync(this.path);
      closeSync(this.fd);
    } catch {
      // Left behind without a lock, it harms nobody.
    }
  }
}

function openLocked(path: string, lock: LockFile, who: string): number {
  const locksItself = process.platform === 'freebsd';
  const flags = constants.O_RDWR + constants.O_CREAT + (locksItself ? FREEBSD_O_NONBLOCK_O_EXLOCK : 0);
  let fd: number;
  try {
    fd = openSync(path, flags, 0o600);
  } catch (error) {
    if (locksItself && isErrnoException(error) && error.code === 'EAGAIN') throw alreadyRunning(path, who);
    throw new CommandError(`Cannot open pid file ${path}: ${messageOf(error)}`, { cause: error });
  }
  const result = locksItself ? 'locked' : lock(fd);
  if (result === 'held' || (result === 'unsupported' && isOtherAlive(readPid(path)))) {
    closeSync(fd);
    throw alreadyRunning(path, who);
  }
  return fd;
}

function alreadyRunning(path: string, who: string): CommandError {
  const pid = readPid(path);
  if (pid === null) return new CommandError(`${who} already running, pid not yet written to ${path}.`);
  return new CommandError(`${who} already running, pid: ${pid}.`);
}

function readPid(path: string): number | null {
  try {
    const text = readFileSync(path, 'latin1').trim();
    return /^[1-9][0-9]{0,9}$/.test(text) ? Number(text) : null;
  } catch {
    return null; // removed meanwhile, or not ours to read
  }
}

function isOtherAlive(pid: number | null): boolean {
  if (pid === null || pid === process.pid) return false; // our own number from before a restart of the machine
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return isErrnoException(error) && error.code === 'EPERM';
  }
}

function isStillAt(fd: number, path: string): boolean {
  const opened = fstatSync(fd, { bigint: true });
  const found = statSync(path, { bigint: true, throwIfNoEntry: false });
  return found?.ino === opened.ino && found.dev === opened.dev;
}

const isErrnoException = (error: unknown): error is NodeJS.ErrnoException =>
  error instanceof Error && 'code' in error;
