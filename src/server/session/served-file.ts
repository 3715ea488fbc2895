import { constants, type Stats, fstat, open } from 'node:fs';
import { promisify } from 'node:util';
import { DeviceError } from '../../device/block-device.js';
import { openError, errnoOf } from '../../device/device-errors.js';
import { systemClock } from '../../device/clock.js';
import { lockFileExclusive } from '../../device/platform/files.js';
import { setSocketBuffers } from '../../device/platform/sockets.js';
import { type OpenMedium, checksum, flush, trim, writeZeroes } from '../../device/slow-operations.js';
import type { AccessMode } from '../../protocol/handshake.js';
import type { SessionConfig } from './messages.js';
import type { SlowOperations } from './slow-requests.js';

/** The file or disk of one session, open until the process ends. */
export interface ServedFile {
  readonly fd: number;
  readonly operations: SlowOperations;
}

const OPEN_FLAGS: Readonly<Record<AccessMode, number>> = {
  ro: constants.O_RDONLY,
  wo: constants.O_WRONLY,
  rw: constants.O_RDWR,
};

/** A session that is being ended lets go of the file within this time. */
const LOCK_WAIT_MS = 3000;
const LOCK_POLL_MS = 50;

/**
 * Opens the export for its session, alone if it writes. Throws DeviceError: DEVICE_OPEN with EBUSY when another process
 * (a session of a daemon that died, another server) writes it, with EIO when it has shrunk since the handshake.
 */
export async function openServed(config: SessionConfig): Promise<ServedFile> {
  const { path } = config;
  let fd: number;
  let stats: Stats;
  try {
    fd = await promisify(open)(path, OPEN_FLAGS[config.access]);
    stats = await promisify(fstat)(fd);
  } catch (cause) {
    throw openError(path, errnoOf(cause), "can't be opened", cause);
  }
  if (stats.isFile() && stats.size < config.mediaSizeBytes) {
    throw openError(path, 'EIO', 'is smaller than the client was told');
  }
  if (config.access !== 'ro' && !config.isShared) await lockAlone(fd, path);
  adjustBuffers(config);
  const medium: OpenMedium = { fd, name: path, kind: stats.isFile() ? 'file' : 'disk' };
  return {
    fd,
    operations: {
      flush: () => flush(medium),
      trim: (range) => trim(medium, range),
      writeZeroes: (range) => writeZeroes(medium, range),
      checksum: async (range, into) => {
        await checksum(medium, range, into, 0);
      },
    },
  };
}

/** The daemon knows its own sessions; the lock also finds those of another daemon, dead or alive. */
async function lockAlone(fd: number, path: string): Promise<void> {
  const untilMs = systemClock.nowMs() + LOCK_WAIT_MS;
  while (lockFileExclusive(fd) === 'held') {
    if (systemClock.nowMs() >= untilMs) {
      throw new DeviceError(
        'DEVICE_OPEN',
        'EBUSY',
        `${path} is being written by another process; end that one first`,
      );
    }
    await new Promise<void>((resolve) => void systemClock.after(LOCK_POLL_MS, resolve));
  }
}

/** Descriptors 0 and 1 are the two connections. The kernel's own sizes adapt themselves, so they are the default. */
function adjustBuffers({ receiveBufferBytes, sendBufferBytes }: SessionConfig): void {
  const wanted = {
    ...(receiveBufferBytes === 0 ? {} : { receiveBytes: receiveBufferBytes }),
    ...(sendBufferBytes === 0 ? {} : { sendBytes: sendBufferBytes }),
  };
  if (Object.keys(wanted).length === 0) return;
  try {
    for (const fd of [0, 1]) setSocketBuffers(fd, wanted);
  } catch {
    // A size that the kernel refuses costs speed, not the session; what it gave stays.
  }
}
