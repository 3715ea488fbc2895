import { join } from 'node:path';
import {
  openDiskThread,
  type DiskThreadDevice,
  type OpenDiskThreadOptions,
} from '../../src/device/disk-thread/disk-thread.js';

/** Threads run compiled programs only, so the built one. */
const THREAD_PROGRAM = join(import.meta.dirname, '../../dist/device/disk-thread/thread.js');

/** Opened for reading and writing and with its thread doing all reads, unless told otherwise. */
export const openThreaded = (
  path: string,
  options: Partial<OpenDiskThreadOptions> = {},
): Promise<DiskThreadDevice> =>
  openDiskThread(path, { access: 'rw', threadProgram: THREAD_PROGRAM, cachedReads: false, ...options });
