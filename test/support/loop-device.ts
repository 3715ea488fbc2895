import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';

/**
 * Whether tests can make loop devices and mounts: on Linux, as root. Elsewhere those tests are skipped, visibly; a CI
 * machine that has the loop driver must run them, and fails if losetup is missing.
 */
export function canUseLoop(): boolean {
  if (process.platform !== 'linux' || process.getuid?.() !== 0 || !existsSync('/dev/loop-control')) {
    return false;
  }
  return (
    process.env['CI'] === 'true' || ['/sbin', '/usr/sbin'].some((folder) => existsSync(`${folder}/losetup`))
  );
}

/** Makes a loop device over `imagePath`; the caller detaches it. `options` are losetup's. */
export const attachLoop = (imagePath: string, options: readonly string[]): string =>
  run('losetup', [...options, '--find', '--show', imagePath]);

export const detachLoop = (devicePath: string): string => run('losetup', ['--detach', devicePath]);

/** Runs `use` with a loop device over `imagePath`, and gives it back in any case. */
export async function withLoopDevice(
  imagePath: string,
  options: readonly string[],
  use: (devicePath: string) => Promise<void>,
): Promise<void> {
  const device = attachLoop(imagePath, options);
  try {
    await use(device);
  } finally {
    detachLoop(device);
  }
}

/** Runs `use` with something mounted on the new folder `folder`. `options` are mount's, without the folder. */
export async function withMount(
  options: readonly string[],
  folder: string,
  use: () => Promise<void>,
): Promise<void> {
  mkdirSync(folder);
  run('mount', [...options, folder]);
  try {
    await use();
  } finally {
    run('umount', [folder]);
  }
}

function run(program: string, args: readonly string[]): string {
  return execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }).trim();
}
