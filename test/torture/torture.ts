import { join } from 'node:path';
import { headOf } from '../support/image-head.js';
import { SeededRandom } from '../support/seeded-random.js';
import { requireSame } from './compare.js';
import { EventLog } from './event-log.js';
import { FailOver } from './fail-over.js';
import { canMakeFileSystems, FileSystem } from './file-system.js';
import { consequencesIn, inWords, sumOf, type Happened } from './happened.js';
import { inStep, requireInStep } from './in-step.js';
import { Noise } from './noise.js';
import { Operator } from './operator.js';
import { fillOwnDisk } from './own-disk.js';
import { Primary } from './primary.js';
import { Site, TIMEOUT_SECONDS, type Steps } from './site.js';
import { SplitBrain } from './split-brain.js';
import type { TortureOptions, TortureResult } from './torture-options.js';
import { Workload } from './workload.js';

/** At the start of the mirror; it ends within an extent and at the end of a region. */
const FILE_SYSTEM_BYTES = 10 * 1_048_576;
/** What a request may take beyond the time-out of its components, on a machine that is busy with other things. */
const GRACE_MS = 60_000;

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
  readonly #site: Site;
  readonly #fileSystem: FileSystem | null;
  readonly #primary: Primary;
  readonly #operator: Operator;
  readonly #noise: Noise;
  readonly #failOver: FailOver;
  readonly #splitBrain: SplitBrain;
  #workload: Workload | null = null;
  #problem: string | null = null;
  /** What goes on, also when it has been given up. */
  #work: Promise<unknown> = Promise.resolve();
  readonly #broken: Promise<never>;
  #reject: (error: Error) => void = () => undefined;

  constructor(private readonly options: TortureOptions) {
    const { seed, folder, mistake = null } = options;
    this.#log = new EventLog(join(folder, 'events.log'), options.tell);
    this.#random = new SeededRandom(seed);
    this.#broken = new Promise((_, reject) => (this.#reject = reject));
    this.#broken.catch(() => undefined);
    options.signal?.addEventListener('abort', () => this.broken('interrupted'));
    const broken = (what: string): void => this.broken(what);
    this.#site = new Site({ seed, folder, random: this.#random, endedByItself: broken, mistake });
    const { mirror } = this.#site;
    this.#fileSystem = canMakeFileSystems() ? this.#newFileSystem() : null;
    this.#primary = new Primary(mirror, this.#fileSystem);
    const common = { mirror, log: this.#log, problem: () => this.#problem };
    this.#operator = new Operator({ ...common, backups: this.#site.backups });
    this.#noise = new Noise({
      ...{ site: this.#site, primary: this.#primary, log: this.#log, random: this.#random, broken },
    });
    this.#failOver = new FailOver({ ...common, random: new SeededRandom(seed) });
    this.#splitBrain = new SplitBrain({
      ...common,
      operator: this.#operator,
      random: new SeededRandom(seed + 1),
    });
  }

  #newFileSystem(): FileSystem {
    const { seed, folder } = this.options;
    return new FileSystem({
      ...{ mirror: this.#site.mirror, seed, folder, sizeBytes: FILE_SYSTEM_BYTES },
      broken: (what) => this.broken(what),
      note: (what) => this.#log.note(what),
    });
  }

  get result(): TortureResult {
    const { seed, folder } = this.options;
    const { reads = 0, writes = 0, flushes = 0, lost = 0 } = this.#workload?.counts ?? {};
    const planned = [...this.#noise.kinds, 'promote', 'kill promoted', 'split brain', 'own disk full'];
    const troubles = Object.fromEntries([
      ...planned.map((kind) => [kind, 0]),
      ...this.#log.counts,
    ]) as Happened;
    const happened = sumOf(troubles, consequencesIn(join(folder, 'mirror.log')));
    const summary =
      `seed ${seed}, ${this.#log.seconds} s: ${inWords(happened)}; ` +
      `${writes} writes, ${reads} reads, ${flushes} flushes, ${lost} requests lost with the daemon; ` +
      `${this.#fileSystem?.summary ?? 'no file system'}; ` +
      `the slowest answer took ${Math.round(this.#workload?.slowestMs ?? 0)} ms`;
    return { problem: this.#problem, summary, happened, events: this.#log.lines };
  }

  /** Only the first is told; what comes after it follows from it. */
  broken(what: string): void {
    if (this.#problem !== null) return;
    this.#problem = what;
    this.#log.note(`BROKEN: ${what}`);
    this.#reject(new Error(what));
  }

  async setUp(): Promise<void> {
    const { seed } = this.options;
    const { mirror, images } = this.#site;
    const balance = this.#random.pick(['prefer', 'round-robin', 'load', 'split']);
    await this.#site.setUp(balance);
    const { mediaSizeBytes } = await this.#operator.untilComplete();
    this.#log.note(`seed ${seed}: a mirror of ${images.size} components, reads balanced by ${balance}`);
    this.#workload = new Workload({
      seed,
      name: mirror.name,
      nbdPath: mirror.nbdPath,
      mediaSizeBytes,
      fromBytes: this.#fileSystem === null ? 0 : FILE_SYSTEM_BYTES,
      broken: (what) => this.broken(what),
      seconds: () => this.#log.seconds,
    });
    await this.#fileSystem?.make();
  }

  async run(): Promise<void> {
    const endMs = performance.now() + this.options.seconds * 1000;
    const watch = setInterval(() => {
      const { runningSinceMs } = this.#site.mirror;
      const requests = this.#client.overdue(runningSinceMs, TIMEOUT_SECONDS * 1000 + GRACE_MS);
      const [first] = [...requests, ...(this.#fileSystem?.overdue(runningSinceMs) ?? [])];
      if (first !== undefined) this.broken(first);
    }, 250);
    this.#work = this.#live(endMs).finally(() => clearInterval(watch));
    await Promise.race([this.#work, this.#broken]);
  }

  get #client(): Workload {
    if (this.#workload === null) throw new Error('not set up');
    return this.#workload;
  }

  async #live(endMs: number): Promise<void> {
    await this.#makeTrouble(endMs);
    await this.#divide();
    await this.#crash();
    await this.#unlessBroken(this.#client.stop());
    await this.#unlessBroken(this.#client.readAll());
    await this.#compare();
  }

  /** Noise and calm by turns; the mirror becomes whole in each calm. */
  async #makeTrouble(endMs: number): Promise<void> {
    this.#client.start();
    this.#noise.begin(this.#client.mediaSizeBytes);
    while (performance.now() < endMs && this.#problem === null) {
      await this.#unlessBroken(this.#noise.rise(Math.max(0, endMs - performance.now())));
      await this.#unlessBroken(this.#operator.insertSpoiledAnew());
      await this.#operator.untilComplete();
      this.#log.note('COMPLETE');
      if (this.#random.chance(0.3)) await this.#unlessBroken(this.#operator.verify());
      await this.#rest();
      if (this.#random.chance(0.3)) await this.#fillOwnDisk();
      await this.#wake();
      if (this.#random.chance(0.05)) await this.#divide();
      if (!this.#random.chance(0.2)) continue;
      await this.#crash();
      // Until then only who took over has everything, and may not fail.
      await this.#operator.untilComplete();
    }
  }

  /** Nobody writes any more, and all components are the same. */
  async #rest(): Promise<void> {
    await this.#unlessBroken(this.#client.stop());
    await this.#unlessBroken(this.#fileSystem?.unmount());
    // On a busy machine a component may have been silent for too long once more.
    const { mediaSizeBytes } = await this.#operator.untilComplete();
    this.#expectSame(mediaSizeBytes);
  }

  /** Without the file system, which requests that fail would be the end of. */
  async #fillOwnDisk(): Promise<void> {
    const { mirror } = this.#site;
    await fillOwnDisk(this.#client, { mirror, log: this.#log, problem: () => this.#problem });
    const { mediaSizeBytes } = await this.#operator.untilComplete();
    this.#expectSame(mediaSizeBytes);
  }

  async #wake(): Promise<void> {
    await this.#unlessBroken(this.#fileSystem?.mount('order'));
    this.#client.start();
  }

  /** The mirror runs on two hosts at once for a while, without a file system: that would be another one on each. */
  async #divide(): Promise<void> {
    await this.#rest();
    const { mirror, backups } = this.#site;
    const before = headOf(mirror.local, FILE_SYSTEM_BYTES);
    this.#workload = await this.#splitBrain.run(this.#random.pick(backups), this.#client);
    const { mediaSizeBytes } = await this.#operator.untilComplete();
    this.#expectSame(mediaSizeBytes);
    if (this.#fileSystem !== null && !headOf(mirror.local, FILE_SYSTEM_BYTES).equals(before))
      throw new Error('a split brain has changed what nobody has written');
    await this.#wake();
  }

  /**
   * The primary dies while files are written; what was synced is in each component that it had not lost before. A backup
   * that is one of those takes over, and gives the mirror back.
   */
  async #crash(): Promise<void> {
    const fileSystem = this.#fileSystem;
    await this.#unlessBroken(fileSystem?.untilWritten());
    this.#log.note('the end of the primary');
    await this.#primary.kill();
    const whole = inStep([...this.#site.images.values()], this.#client.mediaSizeBytes);
    for (const image of whole) {
      if (fileSystem === null) break;
      await this.#unlessBroken(fileSystem.checkAlone(image, 'crash'));
      this.#log.note(`${image} alone has all that was synced`);
    }
    const heir = this.#site.backups.find(({ image }) => whole.includes(image));
    if (heir !== undefined) await this.#unlessBroken(this.#failOver.run(heir, this.#client));
    await this.#primary.start();
  }

  async #compare(): Promise<void> {
    await this.#fileSystem?.unmount();
    const { mediaSizeBytes } = await this.#operator.untilComplete();
    const { mirror, backups, images } = this.#site;
    await mirror.stop();
    for (const backup of backups) await backup.stop();
    this.#expectSame(mediaSizeBytes);
    for (const image of images.values()) await this.#fileSystem?.checkAlone(image, 'order');
    await mirror.run('dump', ...images.values());
    requireInStep([...images.values()], mediaSizeBytes);
    this.#log.note('all components are the same');
  }

  /** On a machine whose kernel lives what was written is in its files at once. */
  #expectSame(lengthBytes: number): void {
    requireSame(
      { images: this.#site.images, lengthBytes, seed: this.options.seed },
      (number) => this.#workload?.tell(number) ?? '',
    );
  }

  /** Waits for it in any case, and rejects if something is broken then: nothing new may begin. */
  async #unlessBroken<T>(work: Promise<T> | undefined): Promise<void> {
    await work;
    if (this.#problem !== null) throw new Error(this.#problem);
  }

  /** Undoes everything, as far as it was done. */
  async tearDown(): Promise<void> {
    this.#noise.end();
    this.#workload?.abandon();
    await this.#noise.ended();
    const { killing, removal } = this.#site;
    const steps: Steps = [
      ...killing,
      () => this.#failOver.tearDown(),
      () => this.#splitBrain.tearDown(),
      () => this.#work.catch(() => undefined),
      ...killing,
      () => this.#fileSystem?.tearDown(),
      ...removal,
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
