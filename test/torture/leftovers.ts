import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { send } from '../support/families.js';

const PREFIX = 'ggmirror-torture-';

/** An empty folder for a life, which says whose it is. */
export const makeFolder = (): string => mkdtempSync(join(tmpdir(), `${PREFIX}${process.pid}-`));

/**
 * Undoes what a run that was killed has left on the machine: programs that live on by themselves, mounts and loop devices.
 * Folders stay, for somebody may want to look at them.
 */
export function removeLeftovers(): void {
  if (process.platform !== 'linux') return;
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name)))
    if (isOfTheDead(textOf(`/proc/${pid}/environ`).match(/GGMIRROR_RUN_DIR=([^\0]*)/)?.[1]))
      send(Number(pid), 'SIGKILL');
  const mountPoints = [...textOf('/proc/self/mountinfo').matchAll(/^(?:\S+ ){4}(\S+)/gm)].map(([, at]) => at);
  // What was mounted last lies on what was there before.
  for (const mountPoint of mountPoints.reverse())
    if (isOfTheDead(mountPoint)) tryTo('umount', '-l', mountPoint);
  for (const name of readdirSync('/sys/block').filter((one) => one.startsWith('loop')))
    if (isOfTheDead(textOf(`/sys/block/${name}/loop/backing_file`)))
      tryTo('losetup', '--detach', `/dev/${name}`);
}

/** What can't be undone is no reason not to go on. */
function tryTo(command: string, ...words: readonly string[]): void {
  spawnSync(command, words, { stdio: 'ignore' });
}

/** Whether a path is in the folder of a run that is no more. */
function isOfTheDead(path: string | undefined): path is string {
  if (path?.startsWith(join(tmpdir(), PREFIX)) !== true) return false;
  const pid = /^(\d+)-/.exec(path.slice(join(tmpdir(), PREFIX).length))?.[1];
  return pid !== undefined && !existsSync(`/proc/${pid}`);
}

/** Empty if it can't be read, or is not there any more. */
function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
