import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { send } from '../support/families.js';
import { canUseLoop } from '../support/loop-device.js';
import { haveTools, runTool } from '../support/tools.js';
import { until } from '../support/until.js';
import { FileWorkload } from './file-workload.js';
import type { MirrorDaemon } from './mirror-daemon.js';

/** So that also a small file system has room for many files, and a journal. */
const BLOCK_BYTES = 1024;
const SOME_SYNCS = 12;
/** On a machine that is busy with other things. */
const PATIENCE_MS = 180_000;

/** Whether file systems can be made on mirrors here. In CI they have to be. */
export const canMakeFileSystems = (): boolean =>
  haveTools('nbdfuse') && canUseLoop() && existsSync('/dev/fuse') && hasExt4();

/** mkfs.ext4 does not know --version. */
function hasExt4(): boolean {
  const isThere = spawnSync('mkfs.ext4', ['-V'], { stdio: 'ignore' }).error === undefined;
  if (!isThere && process.env['CI'] === 'true') throw new Error('missing: mkfs.ext4');
  return isThere;
}

export interface FileSystemOptions {
  readonly mirror: MirrorDaemon;
  readonly seed: number;
  /** From the start of the mirror. */
  readonly sizeBytes: number;
  /** For mount points and copies. */
  readonly folder: string;
  /** Something is wrong with the mirror. */
  readonly broken: (what: string) => void;
  readonly note: (what: string) => void;
}

/** A file system on the first part of a mirror, as an administrator has it: attached, checked, mounted, and written to. */
export class FileSystem {
  readonly #mountPoint: string;
  readonly #aloneFolder: string;
  readonly #files: FileWorkload;
  /** What is under way, also when nobody waits for it any more. */
  #work: Promise<unknown> = Promise.resolve();

  constructor(private readonly options: FileSystemOptions) {
    const { folder, seed, broken } = options;
    this.#mountPoint = join(folder, 'mnt');
    this.#aloneFolder = join(folder, 'alone');
    this.#files = new FileWorkload({ seed, folder: this.#mountPoint, broken });
  }

  get summary(): string {
    const { syncs, fileReads, filesChecked } = this.#files.counts;
    return `${syncs} syncs of files, ${fileReads} reads of files, ${filesChecked} files checked after a mount`;
  }

  overdue(runningSinceMs: number): string[] {
    return this.#files.overdue(runningSinceMs);
  }

  /** The mirror runs. Makes it, mounts it, and lets files be written. */
  make(): Promise<void> {
    return this.#alone(async () => {
      const { sizeBytes } = this.options;
      mkdirSync(this.#mountPoint);
      mkdirSync(this.#aloneFolder);
      const device = await this.#attach();
      const words = ['-q', '-b', String(BLOCK_BYTES), '-E', 'lazy_itable_init=0'];
      await runTool('mkfs.ext4', ...words, device, `${sizeBytes / 1024}k`);
      await this.#patiently('detach');
      await this.#mount('order');
    });
  }

  /** The mirror runs again, or still. Whatever has happened to it, all that was synced is there, and nothing is wrong. */
  mount(after: 'order' | 'crash'): Promise<void> {
    return this.#alone(() => this.#mount(after));
  }

  /** In order. Afterwards nothing is written any more. */
  unmount(): Promise<void> {
    return this.#alone(async () => {
      await this.#files.stop();
      await this.#patiently('detach');
      this.#files.synced();
    });
  }

  /** The mirror is about to die. */
  expectFailure(): void {
    this.#files.expectFailure();
  }

  /** Kills the nbdfuse that makes a file of the mirror, which lives on. False if none runs. */
  killDevice(): boolean {
    const { mirror } = this.options;
    const isIt = (pid: string): boolean => {
      const [program, path] = commandLineOf(pid);
      return basename(program ?? '') === 'nbdfuse' && path === mirror.diskPath;
    };
    const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name) && isIt(name));
    for (const pid of pids) send(Number(pid), 'SIGKILL');
    return pids.length > 0;
  }

  /** The mirror, or what makes a file of it, has died under it. */
  giveUp(): Promise<void> {
    return this.#alone(async () => {
      await this.#files.stop();
      await this.#patiently('detach');
    });
  }

  /** Resolves when some more was synced. */
  async untilWritten(): Promise<void> {
    const enough = this.#files.counts.syncs + SOME_SYNCS;
    await until(
      'files to be written',
      () => this.#files.counts.syncs >= enough || this.#files.isStopping,
      PATIENCE_MS,
    );
  }

  /**
   * Whether a component alone holds the file system and all that was synced: what another host would find in it, after
   * the mirror was ended in order or has died. Rejects if not. Nothing is changed: it is a copy that is looked at.
   */
  checkAlone(image: string, after: 'order' | 'crash'): Promise<void> {
    return this.#alone(async () => {
      const copy = `${this.#aloneFolder}.img`;
      copyFileSync(image, copy);
      if (after === 'crash') await repair(copy);
      await requireSound(copy);
      await runTool('mount', '-t', 'ext4', '-o', 'loop,ro', copy, this.#aloneFolder);
      try {
        await this.#files.check(this.#aloneFolder, after === 'crash' ? 'copy' : 'order');
      } finally {
        await this.#unmountAlone();
      }
    });
  }

  /** Undoes everything, as far as it was done. The mirror runs no more. */
  async tearDown(): Promise<void> {
    const { mirror } = this.options;
    this.expectFailure();
    await this.#work;
    await this.#files.stop();
    // Asking for the file itself would fail: who answers for it may be gone.
    const isAttached = readdirSync(dirname(mirror.diskPath)).includes(basename(mirror.diskPath));
    if (isAttached) await mirror.run('detach', '--force', mirror.name);
  }

  async #mount(after: 'order' | 'crash'): Promise<void> {
    const device = await this.#attach();
    if (after === 'crash') await repair(device);
    await requireSound(device);
    await runTool('mount', '-t', 'ext4', '-o', 'errors=remount-ro,discard', device, this.#mountPoint);
    await this.#files.check(this.#mountPoint, after);
    this.options.note(`mounted after ${after}: all files are as they were synced`);
    this.#files.start();
  }

  async #attach(): Promise<string> {
    return (await this.#patiently('attach', '--way', 'nbdfuse')).trim();
  }

  /** Tries again what a busy machine is too slow for, or what somebody else has open for a moment. */
  async #patiently(command: 'attach' | 'detach', ...words: readonly string[]): Promise<string> {
    const { mirror, note } = this.options;
    let said = '';
    const attempt = async (): Promise<boolean> => {
      try {
        said = await mirror.run(command, mirror.name, ...words);
        return true;
      } catch (error) {
        if (!/mounts nothing|unanswered| in use | busy/.test(String(error))) throw error;
        note(`to be tried again: ${String(error)}`);
        return false;
      }
    };
    await until(`the mirror to ${command}`, attempt, PATIENCE_MS);
    return said;
  }

  /** Whatever looks at mounts may hold it for a moment. */
  async #unmountAlone(): Promise<void> {
    const attempt = (): Promise<boolean> =>
      runTool('umount', this.#aloneFolder).then(
        () => true,
        (error: unknown) => {
          if (!/busy/.test(String(error))) throw error;
          return false;
        },
      );
    await until(`${this.#aloneFolder} to be unmounted`, attempt, PATIENCE_MS);
  }

  /** One thing after the other. */
  #alone(work: () => Promise<void>): Promise<void> {
    const done = this.#work.then(work);
    this.#work = done.catch(() => undefined);
    return done;
  }
}

/** Source: e2fsck(8). */
const FSCK_REPAIRED = 1;

/** As a machine does after a crash: it only replays the journal, and nobody is asked anything. */
async function repair(device: string): Promise<void> {
  try {
    await runTool('e2fsck', '-p', device);
  } catch (error) {
    // What it repairs by itself is what a crash leaves behind at any time.
    if ((error as { readonly code?: unknown }).code === FSCK_REPAIRED) return;
    throw new Error(`the file system needs a person: ${saidBy(error)}`, { cause: error });
  }
}

/** Everything is looked at, and nothing changed. Rejects with what is wrong. */
async function requireSound(device: string): Promise<void> {
  try {
    await runTool('e2fsck', '-f', '-n', device);
  } catch (error) {
    throw new Error(`the file system is damaged: ${saidBy(error)}`, { cause: error });
  }
}

/** Empty for a process that has ended. */
function commandLineOf(pid: string): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
  } catch {
    return [];
  }
}

const saidBy = (error: unknown): string =>
  `${String(error)} ${String((error as { readonly stdout?: unknown }).stdout)}`;
