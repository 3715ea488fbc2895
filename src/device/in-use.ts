import { fstatSync, promises as fs, type BigIntStats } from 'node:fs';
import { DeviceError } from './block-device.js';
import { delay, systemClock } from './clock.js';
import { lockFileExclusive } from './platform/files.js';
import { linuxUse } from './platform/linux-use.js';

/** Why something may not be written to, as a clause: 'it is mounted on /home'. The cause of a DeviceError with EBUSY. */
export class InUse extends Error {}

/** A program that ends and udev, which locks a disk to look at it, let go within this time. */
const LOCK_WAIT_MS = 1_000;
const LOCK_POLL_MS = 50;

/**
 * Throws DeviceError with EBUSY for what the kernel uses: mounts, swap, loop devices. On FreeBSD it refuses by itself to
 * open a disk for writing that is mounted or a component.
 */
export async function requireUnused(path: string, name = path): Promise<void> {
  const use = process.platform === 'linux' ? await linuxUse(path) : null;
  if (use !== null) throw busy(name, `it ${use}`);
}

/**
 * Takes the lock that everybody who writes to images takes; it lasts until the file is closed. Throws DeviceError with
 * EBUSY, which tells who has it. Where nothing can be locked, it does nothing.
 */
export async function lockAlone(fd: number, name: string, waitMs = LOCK_WAIT_MS): Promise<void> {
  const untilMs = systemClock.nowMs() + waitMs;
  while (lockFileExclusive(fd) === 'held') {
    if (systemClock.nowMs() >= untilMs) throw busy(name, `${await holderOf(fd)} writes to it`);
    await delay(systemClock, LOCK_POLL_MS);
  }
}

function busy(name: string, why: string): DeviceError {
  const message = `${name} is in use: ${why}; end that first`;
  return new DeviceError('DEVICE_REFUSED', 'EBUSY', message, { cause: new InUse(why) });
}

/** 'process 4711 (ggmirror data)', as far as /proc tells. */
async function holderOf(fd: number): Promise<string> {
  try {
    const pid = lockerIn(await fs.readFile('/proc/locks', 'utf8'), fstatSync(fd, { bigint: true }));
    if (pid === null) return 'another process';
    if (pid === process.pid) return 'this very process';
    const words = (await fs.readFile(`/proc/${pid}/cmdline`, 'utf8')).split('\0');
    return `process ${pid} (${words.join(' ').trim().slice(0, 80)})`;
  } catch {
    return 'another process';
  }
}

/** Lines are '1: FLOCK  ADVISORY  WRITE 4711 08:01:1234 0 EOF', device numbers in hexadecimal. Source: proc(5). */
export function lockerIn(locks: string, { ino }: Pick<BigIntStats, 'ino'>): number | null {
  for (const line of locks.split('\n')) {
    const [, kind, , , pid = '', place = ''] = line.trim().split(/\s+/);
    // Some file systems show another device number here than stat does, so only the rest is compared.
    if (kind === 'FLOCK' && place.split(':')[2] === ino.toString() && /^[1-9]\d*$/.test(pid))
      return Number(pid);
  }
  return null;
}
