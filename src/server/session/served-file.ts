import { constants, type Stats, fstat, open } from 'node:fs';
import { promisify } from 'node:util';
import { openError, errnoOf } from '../../device/device-errors.js';
import { openFlushNote, type FlushNote } from '../../device/flush-note.js';
import { lockAlone } from '../../device/in-use.js';
import { setSocketBuffers } from '../../device/platform/sockets.js';
import { type OpenMedium, checksum, flush, trim, writeZeroes } from '../../device/slow-operations.js';
import type { AccessMode } from '../../protocol/handshake.js';
import type { SessionConfig } from './messages.js';
import type { SlowOperations } from './slow-requests.js';

/** The file or disk of one session, open until the process ends. */
export interface ServedFile {
  readonly fd: number;
  readonly operations: SlowOperations;
  /** Null for a session that does not write, or not alone. */
  readonly flushNote: FlushNote | null;
}

const OPEN_FLAGS: Readonly<Record<AccessMode, number>> = {
  ro: constants.O_RDONLY,
  wo: constants.O_WRONLY,
  rw: constants.O_RDWR,
};

/** A session that is being ended lets go of the file within this time. */
const LOCK_WAIT_MS = 3000;

/**
 * Opens the export for its session, alone if it writes. Throws DeviceError: DEVICE_REFUSED with EBUSY when another process
 * (a session of a daemon that died, another server, a mirror) writes it, DEVICE_OPEN with EIO when it has shrunk since
 * the handshake.
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
  // The daemon knows its own sessions; the lock also finds those of another daemon, dead or alive, and mirrors.
  const isAlone = config.access !== 'ro' && !config.isShared;
  if (isAlone) await lockAlone(fd, path, LOCK_WAIT_MS);
  adjustBuffers(config);
  const flushNote = isAlone && config.flushNotes !== null ? openFlushNote(config.flushNotes, fd) : null;
  const medium: OpenMedium = { fd, name: path, kind: stats.isFile() ? 'file' : 'disk', flushNote };
  return {
    fd,
    flushNote,
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
