import type { SeededRandom } from '../support/seeded-random.js';
import type { Backup } from './backup.js';
import { Heir, type HeirOptions } from './heir.js';
import type { Operator } from './operator.js';
import { oneByOne } from './troubles.js';
import type { Workload } from './workload.js';

/** What each side is written to before the two meet. */
const WRITES = 40;

export interface SplitBrainOptions extends HeirOptions {
  readonly operator: Operator;
  readonly random: SeededRandom;
}

/** What of a command's end is looked at. */
interface Failure {
  readonly code?: unknown;
  readonly stdout?: unknown;
}

/**
 * Both hosts run the mirror while the cable between them is cut, because somebody there has said so by force, and both are
 * written to. When they meet, each has to say so, and to leave the other's data alone, until a person gives one side up.
 */
export class SplitBrain {
  #heir: Heir | null = null;
  #there: Workload | null = null;
  readonly #begins: Generator<'lives on' | 'is started anew', never>;
  readonly #losers: Generator<'the backup' | 'the primary', never>;

  constructor(private readonly options: SplitBrainOptions) {
    const { random } = options;
    this.#begins = oneByOne(['lives on', 'is started anew'], random);
    this.#losers = oneByOne(['the backup', 'the primary'], random);
  }

  /**
   * The mirror is COMPLETE, and nobody writes. Resolves, when that is so again, with what knows the writes of the side that
   * was kept.
   */
  async run(backup: Backup, here: Workload): Promise<Workload> {
    const { mirror, log, operator } = this.options;
    const heir = new Heir(backup, this.options);
    this.#heir = heir;
    const there = here.fork(heir.nbdPath);
    this.#there = there;
    log.note(`split brain: ${backup.name}`);
    backup.cable.break('silent');
    await this.#write(heir, here, there);
    await mirror.serveImage();
    backup.cable.heal();
    await heir.until('both sides to say that they are split', () => this.#bothSaySo(heir));
    // Until then both were written to.
    for (const side of [here, there]) await side.stop();
    here.judge(mirror.local);
    there.judge(backup.image);
    await mirror.stopServing();
    const loser = this.#losers.next().value;
    log.note(`both say that they are split, and have what they had; ${loser} gives up`);
    const kept = loser === 'the backup' ? here : there;
    if (loser === 'the backup') await this.#discardBackup(heir);
    else await this.#discardPrimary(heir);
    this.#heir = null;
    kept.moveTo(mirror.nbdPath);
    await operator.untilComplete();
    for (const image of [mirror.local, backup.image]) kept.judge(image);
    log.count('split brain');
    return kept;
  }

  /** Ends what is left. */
  async tearDown(): Promise<void> {
    this.#there?.abandon();
    await this.#heir?.kill();
    this.#heir = null;
    await this.options.mirror.stopServing();
  }

  /** Neither side knows of the other. Resolves while both are written to. */
  async #write(heir: Heir, here: Workload, there: Workload): Promise<void> {
    const { mirror } = this.options;
    if (this.#begins.next().value === 'is started anew') {
      await mirror.kill();
      await mirror.start();
    }
    here.start();
    await heir.promote('--force');
    there.start();
    const before = [here, there].map(({ counts }) => ({ ...counts }));
    await heir.until('both sides to be written', () =>
      [here, there].every(
        ({ counts }, at) =>
          counts.writes >= (before[at]?.writes ?? 0) + WRITES && counts.flushes > (before[at]?.flushes ?? 0),
      ),
    );
  }

  async #bothSaySo({ backup }: Heir): Promise<boolean> {
    const { mirror } = this.options;
    const sides = [mirror.run('status', mirror.name), backup.run('status', mirror.name)];
    const answers = await Promise.allSettled(sides);
    return answers.every((answer) => {
      if (answer.status === 'fulfilled') return false;
      const { code, stdout } = answer.reason as Failure;
      return code === 5 && String(stdout).includes('SPLIT BRAIN');
    });
  }

  /** Its mirror ends, and the one that runs overwrites it. */
  async #discardBackup(heir: Heir): Promise<void> {
    const { mirror } = this.options;
    await heir.demote();
    const resolve = async (): Promise<boolean> => {
      try {
        await mirror.run('resolve', mirror.name, '--discard', heir.backup.uri, '--force');
        return true;
      } catch (error) {
        return heir.notYet(error, /another client is writing|in use|was not taken in/);
      }
    };
    await heir.until('the split brain to be settled', resolve);
  }

  /** Neither runs any more: a start is refused, and then the primary and whoever stayed with it are given up. */
  async #discardPrimary(heir: Heir): Promise<void> {
    const { mirror } = this.options;
    await mirror.stop();
    await heir.demote();
    const refuses = async (): Promise<boolean> => {
      try {
        await mirror.run('start', mirror.name, ...mirror.components, '--foreground');
      } catch (error) {
        return /split brain/i.test(String(error)) || heir.notYet(error, /in use|another client/);
      }
      throw new Error('a start from both sides of a split brain was not refused');
    };
    await heir.until('a start to be refused', refuses);
    const given = mirror.components.filter((provider) => provider !== heir.backup.uri);
    const resolve = async (): Promise<boolean> => {
      try {
        const discarded = given.flatMap((provider) => ['--discard', provider]);
        await mirror.run('resolve', mirror.name, ...mirror.components, ...discarded, '--force');
        return true;
      } catch (error) {
        return heir.notYet(error, /in use|another client/);
      }
    };
    await heir.until('the split brain to be settled', resolve);
    mirror.goneOnElsewhere();
    await mirror.start();
  }
}
