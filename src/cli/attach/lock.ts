import { closeSync, openSync } from 'node:fs';
import { lockFileExclusive } from '../../device/platform/files.js';
import { CommandError } from '../errors.js';

/**
 * Runs `work` alone: two commands at once would take the same free device. The lock is on the run directory itself, which
 * leaves no file behind. Rejects with CommandError if another one is at it.
 */
export async function aloneIn<Result>(runDirectory: string, work: () => Promise<Result>): Promise<Result> {
  const fd = openSync(runDirectory, 'r');
  try {
    if (lockFileExclusive(fd) === 'held') {
      throw new CommandError('another attach or detach is under way; try again when it is done');
    }
    return await work();
  } finally {
    closeSync(fd);
  }
}
