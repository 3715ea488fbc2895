import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync, promises as fs, readdirSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { readSysfs } from '../../device/platform/disks.js';
import { linuxMounts } from '../../device/platform/mounts.js';
import { CommandError } from '../errors.js';
import { requireUnused } from './in-use.js';
import type { Made, Maker, Target } from './maker.js';
import { needProgram, needSuccess, oneLine, runProgram, type System, waitFor } from './system.js';

const START_MS = 10_000;
/** It finishes what it was asked; a mirror that hangs may never answer that. */
const END_MS = 5_000;
const BUSY_MS = 10_000;

/**
 * Without the kernel's NBD: nbdfuse makes a file of the mirror, and a loop device makes a block device of the file. The
 * file is `diskPath`, over which nbdfuse mounts. What is there is asked of the kernel each time, so nothing that a crash
 * leaves half done is overlooked.
 */
export class NbdfuseMaker implements Maker {
  constructor(private readonly diskPath: string) {}

  async make(system: System, target: Target): Promise<Made> {
    needProgram(system, 'losetup');
    try {
      closeSync(openSync(this.diskPath, 'w', 0o600));
      await this.#startNbdfuse(system, target);
      return { device: await this.#makeLoop(system, target), pid: null };
    } catch (error) {
      await this.#removeFile(system, false).catch(() => undefined /* the first error says more */);
      throw error;
    }
  }

  async isThere(system: System, { device }: Made): Promise<boolean> {
    return (await this.#loops(system)).includes(basename(device));
  }

  async isAlive(system: System, made: Made): Promise<boolean> {
    return (await this.isThere(system, made)) && (await this.#processes(system)).length > 0;
  }

  /** What is there, whoever made it: `device` is empty if the loop device is missing. */
  async find(system: System): Promise<Made | null> {
    const [loop] = await this.#loops(system);
    if (loop !== undefined) return { device: join(system.devFolder, loop), pid: null };
    return (await this.#isMounted(system)) ? { device: '', pid: null } : null;
  }

  async remove(system: System, { device }: Made, isLazy: boolean): Promise<void> {
    const loops = await this.#loops(system);
    if (loops.includes(basename(device))) {
      if (!isLazy) await requireUnused(system, device);
      await needSuccess(system, 'losetup', ['--detach', device]);
    }
    await this.#removeFile(system, isLazy);
  }

  /** Names such as 'loop3'. */
  async #loops({ sysFolder }: System): Promise<string[]> {
    const names = readdirSync(join(sysFolder, 'block')).filter((name) => name.startsWith('loop'));
    const found: string[] = [];
    for (const name of names) {
      const path = await readSysfs(join(sysFolder, 'block', name, 'loop/backing_file'));
      if (path === this.diskPath) found.push(name);
    }
    return found;
  }

  async #isMounted({ procFolder }: System): Promise<boolean> {
    const mounts = await linuxMounts(join(procFolder, 'self/mountinfo'));
    return mounts.some(({ mountPoint }) => mountPoint === this.diskPath);
  }

  /** It lives on without us, in a session of its own. */
  async #startNbdfuse(system: System, { nbdPath }: Target): Promise<void> {
    const child = spawn(needProgram(system, 'nbdfuse'), [this.diskPath, '--unix', nbdPath], {
      detached: true,
      cwd: '/',
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let said = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (said += text));
    const isEnded = (): boolean => child.exitCode !== null || child.signalCode !== null;
    child.once('error', (error) => (said += error.message));
    const isReady = await waitFor(system, START_MS, async () =>
      isEnded() ? false : (await this.#isMounted(system)) ? true : null,
    );
    if (isReady !== true) {
      child.kill('SIGKILL');
      const why = said === '' ? (isEnded() ? 'it ended without a word' : 'it mounts nothing') : oneLine(said);
      throw new CommandError(`nbdfuse can't make a file of the mirror: ${why}`);
    }
    letGo(child);
  }

  async #makeLoop(system: System, { sectorSizeBytes }: Target): Promise<string> {
    const words = ['--find', '--show', '--sector-size', String(sectorSizeBytes), this.diskPath];
    // Past the page cache, which has the file system's pages already. Not every kernel can do it on FUSE.
    const direct = await runProgram(system, 'losetup', ['--direct-io=on', ...words]);
    return direct.code === 0 ? direct.stdout : await needSuccess(system, 'losetup', words);
  }

  async #removeFile(system: System, isLazy: boolean): Promise<void> {
    if (await this.#isMounted(system)) {
      // The loop device lets go of the file a moment after it is detached.
      const isDone = await waitFor(system, BUSY_MS, async () => {
        const words = isLazy ? ['-l', this.diskPath] : [this.diskPath];
        return (await runProgram(system, 'umount', words)).code === 0 ? true : null;
      });
      if (isDone === null) await needSuccess(system, 'umount', [this.diskPath]);
      if (!isLazy) await this.#endNbdfuse(system);
    }
    rmSync(this.diskPath, { force: true });
  }

  /** Its connections must be gone when we return, so that the mirror can be stopped. */
  async #endNbdfuse(system: System): Promise<void> {
    const areGone = async (): Promise<true | null> =>
      (await this.#processes(system)).length === 0 ? true : null;
    if ((await waitFor(system, END_MS, areGone)) !== null) return;
    for (const pid of await this.#processes(system)) process.kill(pid, 'SIGKILL');
    await waitFor(system, END_MS, areGone);
  }

  /** Of the nbdfuse that makes our file; what has ended has no command line. */
  async #processes({ procFolder }: System): Promise<number[]> {
    const pids: number[] = [];
    for (const pid of readdirSync(procFolder).filter((name) => /^\d+$/.test(name))) {
      const words = await fs.readFile(join(procFolder, pid, 'cmdline'), 'utf8').catch(() => '');
      const [program, path] = words.split('\0');
      if (basename(program ?? '') === 'nbdfuse' && path === this.diskPath) pids.push(Number(pid));
    }
    return pids;
  }
}

/** What it says from now on is lost: it ignores that nobody reads, as every FUSE program does. */
function letGo(child: ChildProcess): void {
  child.stderr?.destroy();
  child.unref();
}
