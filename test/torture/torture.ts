import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { MirrorStatus } from '../../src/control/status.js';
import { createImage } from '../../src/device/file-device.js';
import { SeededRandom } from '../support/seeded-random.js';
import { until } from '../support/until.js';
import { Backup } from './backup.js';
import { differences } from './compare.js';
import { EventLog } from './event-log.js';
import { Hosts } from './hosts.js';
import { MirrorDaemon } from './mirror-daemon.js';
import {
  backupVictim,
  cableVictim,
  diskVictim,
  mirrorVictim,
  Troublemaker,
  type Victim,
} from './troubles.js';
import { Workload } from './workload.js';

const MIB = 1_048_576;
const NAME = 'torture';
const IMAGE_BYTES = 24 * MIB;
/** Of the file system under a backup's image. */
const BACKUP_DISK_BYTES = 28 * MIB;
const TIMEOUT_SECONDS = 2;
/** What a request may take beyond the time-out of its components, on a machine that is busy with other things. */
const GRACE_MS = 30_000;
/** A component that went away is tried again every 30 s at the latest; then it is copied to. */
const COMPLETE_MS = 120_000;
const NOISE_MS_MAX = 18_000;

export interface TortureOptions {
  readonly seed: number;
  readonly seconds: number;
  /** An empty one, which is the caller's to remove. */
  readonly folder: string;
  /** Gets each event as it happens. */
  readonly tell: ((line: string) => void) | null;
  /** Ends it early. */
  readonly signal?: AbortSignal;
}

export interface TortureResult {
  /** What was wrong; null if nothing was. */
  readonly problem: string | null;
  readonly summary: string;
  readonly events: readonly string[];
}

/**
 * Real programs on hosts of their own: a mirror of a local image and of images that servers offer, clients that write to
 * it, and trouble. Leaves nothing behind but what is in the folder. Rejects only if it can't be set up.
 */
export async function torture(options: TortureOptions): Promise<TortureResult> {
  const run = new Torture(options);
  try {
    await run.setUp();
    await run.run();
  } catch (error) {
    run.broken(error instanceof Error ? error.message : String(error));
  } finally {
    await run.tearDown();
  }
  return run.result;
}

class Torture {
  readonly #log: EventLog;
  readonly #random: SeededRandom;
  readonly #hosts: Hosts;
  readonly #backups: readonly Backup[];
  readonly #mirror: MirrorDaemon;
  readonly #mounts: string[] = [];
  readonly #troublemaker: Troublemaker;
  readonly #local: string;
  #workload: Workload | null = null;
  #problem: string | null = null;
  #plagues: Promise<unknown> = Promise.resolve();
  readonly #broken: Promise<never>;
  #reject: (error: Error) => void = () => undefined;

  constructor(private readonly options: TortureOptions) {
    const { seed, folder } = options;
    this.#log = new EventLog(join(folder, 'events.log'), options.tell);
    this.#random = new SeededRandom(seed);
    this.#broken = new Promise((_, reject) => (this.#reject = reject));
    this.#broken.catch(() => undefined);
    options.signal?.addEventListener('abort', () => this.broken('interrupted'));
    this.#troublemaker = new Troublemaker(this.#log, (what) => this.broken(what));
    const endedByItself = (what: string): void => this.broken(what);
    this.#hosts = new Hosts(this.#random.chance(0.3) ? 2 : 1);
    this.#backups = this.#hosts.cables.map((cable, index) => {
      const [image, log] = [join(folder, `disk${index}/backup.img`), join(folder, `backup${index}.log`)];
      return new Backup(index, cable, image, IMAGE_BYTES, log, join(folder, `run${index}`), endedByItself);
    });
    this.#local = join(folder, 'local.img');
    this.#mirror = new MirrorDaemon({
      host: this.#hosts.primary,
      name: NAME,
      local: this.#local,
      uris: this.#backups.map(({ uri }) => uri),
      timeoutSeconds: TIMEOUT_SECONDS,
      runDirectory: join(folder, 'run'),
      logPath: join(folder, 'mirror.log'),
      endedByItself,
    });
  }

  get result(): TortureResult {
    const { seed } = this.options;
    const { reads = 0, writes = 0, flushes = 0, lost = 0 } = this.#workload?.counts ?? {};
    const summary =
      `seed ${seed}, ${this.#log.seconds} s: ${this.#log.troubleCount} troubles (${this.#log.summary}); ` +
      `${writes} writes, ${reads} reads, ${flushes} flushes, ${lost} requests lost with the daemon; ` +
      `the slowest answer took ${Math.round(this.#workload?.slowestMs ?? 0)} ms`;
    return { problem: this.#problem, summary, events: this.#log.lines };
  }

  /** Only the first is told; what comes after it follows from it. */
  broken(what: string): void {
    if (this.#problem !== null) return;
    this.#problem = what;
    this.#log.note(`BROKEN: ${what}`);
    this.#reject(new Error(what));
  }

  async setUp(): Promise<void> {
    const { folder, seed } = this.options;
    mkdirSync(join(folder, 'run'));
    await createImage(this.#local, IMAGE_BYTES);
    for (const backup of this.#backups) {
      const disk = join(folder, `disk${backup.index}`);
      mkdirSync(disk);
      execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${BACKUP_DISK_BYTES}`, 'none', disk]);
      this.#mounts.push(disk);
      await createImage(backup.image, IMAGE_BYTES);
      await backup.serve();
    }
    const balance = this.#random.pick(['prefer', 'round-robin', 'load', 'split']);
    const uris = this.#backups.map(({ uri }) => uri);
    await this.#mirror.run('label', '-b', balance, NAME, this.#local, ...uris);
    await this.#mirror.start();
    const { mediaSizeBytes } = await this.#untilComplete();
    this.#log.note(`seed ${seed}: a mirror of ${uris.length + 1} components, reads balanced by ${balance}`);
    this.#workload = new Workload({
      seed,
      name: NAME,
      nbdPath: this.#mirror.nbdPath,
      mediaSizeBytes,
      broken: (what) => this.broken(what),
      seconds: () => this.#log.seconds,
    });
  }

  async run(): Promise<void> {
    const workload = this.#workload;
    if (workload === null) throw new Error('not set up');
    const endMs = performance.now() + this.options.seconds * 1000;
    const watch = setInterval(() => {
      const [first] = workload.overdue(this.#mirror.runningSinceMs, TIMEOUT_SECONDS * 1000 + GRACE_MS);
      if (first !== undefined) this.broken(first);
    }, 250);
    try {
      await this.#orBroken(this.#makeTrouble(workload, endMs));
      await this.#orBroken(workload.stop());
      await this.#orBroken(workload.readAll());
      await this.#orBroken(this.#compare());
    } finally {
      clearInterval(watch);
    }
  }

  /** Noise and calm by turns; the mirror becomes whole in each calm. */
  async #makeTrouble(workload: Workload, endMs: number): Promise<void> {
    const victims: Victim[] = [
      ...this.#backups.flatMap((backup) => [
        backupVictim(backup, workload.mediaSizeBytes, this.#random),
        cableVictim(backup),
        diskVictim(backup),
      ]),
      mirrorVictim(this.#mirror),
    ];
    workload.start();
    const seed = this.#random.below(1_000_000);
    this.#plagues = Promise.all(
      victims.map((victim, index) => this.#troublemaker.plague(victim, new SeededRandom(seed + index))),
    );
    while (performance.now() < endMs && this.#problem === null) {
      const some = victims.filter(() => this.#random.chance(0.6));
      const noisy = some.length === 0 ? [this.#random.pick(victims)] : some;
      this.#log.note(`noise: ${noisy.map(({ name }) => name).join(', ')}`);
      await this.#troublemaker.choose(noisy);
      const noiseMs = 4000 + this.#random.below(NOISE_MS_MAX - 4000);
      await this.#orBroken(delay(Math.min(noiseMs, Math.max(0, endMs - performance.now()))));
      await this.#troublemaker.choose([]);
      this.#log.note('calm');
      await this.#orBroken(this.#insertSpoiledAnew());
      const { mediaSizeBytes } = await this.#untilComplete();
      this.#log.note('COMPLETE');
      if (this.#random.chance(0.3)) await this.#mirror.run('verify', NAME);
      await this.#orBroken(workload.stop());
      this.#expectSame(mediaSizeBytes);
      workload.start();
    }
  }

  /** What the operator does about those that are no components any more. Those that only are away are waited for. */
  async #insertSpoiledAnew(): Promise<void> {
    const spoiled = this.#backups.filter(({ isSpoiled }) => isSpoiled);
    if (spoiled.length === 0) return;
    await this.#untilStatus('the other components', ({ components }) =>
      components.every(
        ({ name, state }) => state !== 'DISCONNECTED' || spoiled.some(({ uri }) => uri === name),
      ),
    );
    await this.#mirror.run('forget', NAME);
    // On a busy machine another one may have been away at that moment.
    const { components } = await this.#mirror.status();
    const all = [this.#local, ...this.#backups.map(({ uri }) => uri)];
    for (const provider of all.filter((one) => !components.some(({ name }) => name === one))) {
      await until(`${provider} to be inserted`, () => this.#insert(provider), COMPLETE_MS);
      this.#log.note(`inserted anew: ${provider}`);
    }
    for (const backup of spoiled) backup.isSpoiled = false;
  }

  /** False for what passes by itself: a server that has not noticed the end of a session, a component that is away. */
  async #insert(provider: string): Promise<boolean> {
    try {
      await this.#mirror.run('insert', '--force', NAME, provider);
      return true;
    } catch (error) {
      if (this.#problem !== null || !/EBUSY|Not all disks connected/.test(String(error))) throw error;
      this.#log.note(`not inserted yet: ${String(error)}`);
      return false;
    }
  }

  #untilComplete(): Promise<MirrorStatus> {
    return this.#untilStatus('COMPLETE', ({ state }) => state === 'COMPLETE');
  }

  async #untilStatus(what: string, isSo: (status: MirrorStatus) => boolean): Promise<MirrorStatus> {
    let last = 'no answer';
    try {
      return await until(
        what,
        async () => {
          if (this.#problem !== null) throw new Error(this.#problem);
          const status = await this.#mirror.status().catch((error: unknown) => String(error));
          last = typeof status === 'string' ? status : JSON.stringify(status);
          return typeof status !== 'string' && isSo(status) ? status : null;
        },
        COMPLETE_MS,
      );
    } catch (error) {
      throw new Error(`${String(error)}; its status: ${last}`, { cause: error });
    }
  }

  async #compare(): Promise<void> {
    const { mediaSizeBytes } = await this.#untilComplete();
    await this.#mirror.stop();
    for (const backup of this.#backups) await backup.stop();
    this.#expectSame(mediaSizeBytes);
    this.#log.note('all components are the same');
  }

  /** On a machine whose kernel lives what was written is in its files at once. */
  #expectSame(lengthBytes: number): void {
    const images = new Map([
      ['local', this.#local],
      ...this.#backups.map(({ name, image }) => [name, image] as const),
    ]);
    const different = differences({ images, lengthBytes, seed: this.options.seed });
    if (different === null) return;
    const numbers = [...different.matchAll(/ has (\d+)/g)].map(([, number]) => Number(number));
    const told = [...new Set(numbers)].map((number) => this.#workload?.tell(number) ?? '');
    throw new Error(`${different}\n${told.join('\n')}`);
  }

  /** Rejects as soon as something is broken. */
  #orBroken<T>(work: Promise<T>): Promise<T> {
    return Promise.race([work, this.#broken]);
  }

  /** Undoes everything, as far as it was done. */
  async tearDown(): Promise<void> {
    this.#troublemaker.end();
    this.#workload?.abandon();
    await this.#plagues;
    const steps: (() => unknown)[] = [
      () => this.#mirror.kill(),
      ...this.#backups.map((backup) => () => backup.kill()),
      () => this.#hosts.remove(),
      ...this.#mounts.map((disk) => () => execFileSync('umount', ['-l', disk])),
    ];
    for (const step of steps) {
      try {
        await step();
      } catch (error) {
        this.broken(`while everything is undone: ${String(error)}`);
      }
    }
  }
}

const delay = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
