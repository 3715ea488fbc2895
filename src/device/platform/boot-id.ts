import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { messageOf } from '../../protocol/errors.js';
import { systemRandom } from '../random.js';

export interface BootId {
  /** 16 bytes that stay the same until the host restarts, and never come again. */
  readonly bytes: Buffer;
  /** Why the bytes are good for this process only, for the log; null if they are what they should be. */
  readonly note: string | null;
}

/** Where the id comes from, so that tests can give something else. Both throw when there is nothing to give. */
export interface BootIdSources {
  readonly platform: string;
  readFile(path: string): string;
  /** Standard output of sysctl(8) with these arguments. */
  sysctl(...args: readonly string[]): Buffer;
  random(lengthBytes: number): Buffer;
}

const SYSTEM: BootIdSources = {
  platform: process.platform,
  readFile: (path) => readFileSync(path, 'utf8'),
  sysctl: (...args) =>
    execFileSync('/sbin/sysctl', args, { timeout: 5000, stdio: ['ignore', 'pipe', 'ignore'] }),
  random: (lengthBytes) => systemRandom.nextBytes(lengthBytes),
};

/**
 * Tells a restarted host from a broken connection. If it can't be learned it is random, so every start of the process
 * looks like a restart of the host: that costs a client more resync than needed, and never loses a write.
 */
export function bootId(sources: BootIdSources = SYSTEM): BootId {
  try {
    return { bytes: sources.platform === 'freebsd' ? ofFreebsd(sources) : ofLinux(sources), note: null };
  } catch (cause) {
    const why = messageOf(cause);
    const note = `the host's boot id is unknown (${why}); each start counts as a restart of the host`;
    return { bytes: sources.random(16), note };
  }
}

function ofLinux(sources: BootIdSources): Buffer {
  const bytes = Buffer.from(
    sources.readFile('/proc/sys/kernel/random/boot_id').trim().replaceAll('-', ''),
    'hex',
  );
  if (bytes.length !== 16) throw new Error('/proc/sys/kernel/random/boot_id holds no UUID');
  return bytes;
}

function ofFreebsd(sources: BootIdSources): Buffer {
  try {
    const bytes = sources.sysctl('-b', '-n', 'kern.boot_id');
    if (bytes.length === 16) return bytes;
  } catch {
    // Before FreeBSD 14 there is no such thing.
  }
  // A clock that is set moves the boot time, so this changes at times without a restart: the harmless direction.
  const seconds = /\bsec = (\d+)/.exec(sources.sysctl('-n', 'kern.boottime').toString('latin1'))?.[1];
  if (seconds === undefined) throw new Error('kern.boottime holds no time');
  const host = sources.sysctl('-n', 'kern.hostuuid').toString('latin1').trim();
  return createHash('sha256').update(`${host} ${seconds}`).digest().subarray(0, 16);
}
