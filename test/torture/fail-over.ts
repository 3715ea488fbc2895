import type { SeededRandom } from '../support/seeded-random.js';
import type { Backup } from './backup.js';
import { Heir, type HeirOptions } from './heir.js';
import { oneByOne } from './troubles.js';
import type { Workload } from './workload.js';

/** What a promoted mirror is written to before it goes back. */
const WRITES = 40;

export interface FailOverOptions extends HeirOptions {
  readonly random: SeededRandom;
}

/** After the primary's death its clients go to a backup, and later back. */
export class FailOver {
  #heir: Heir | null = null;
  readonly #ends: Generator<'in order' | 'killed', never>;

  constructor(private readonly options: FailOverOptions) {
    this.#ends = oneByOne(['in order', 'killed'], options.random);
  }

  /**
   * The primary is dead, and this backup was in step. It is promoted and written to; what it says is judged as if it had been the
   * mirror all the time. Then it is demoted, or dies and is demoted, and nobody but it has everything.
   */
  async run(backup: Backup, workload: Workload): Promise<void> {
    const { mirror, log } = this.options;
    const heir = new Heir(backup, this.options);
    this.#heir = heir;
    log.note(`promote: ${backup.name}`);
    await heir.promote();
    log.count('promote');
    workload.moveTo(heir.nbdPath);
    const enough = workload.counts.writes + WRITES;
    await heir.until('a promoted mirror to be written', () => workload.counts.writes >= enough);
    workload.moveTo(mirror.nbdPath);
    mirror.goneOnElsewhere();
    if (this.#ends.next().value === 'killed') {
      log.note(`kill promoted: ${backup.name}`);
      await heir.kill();
      log.count('kill promoted');
    }
    await heir.demote();
    this.#heir = null;
  }

  /** Ends what is left. */
  async tearDown(): Promise<void> {
    await this.#heir?.kill();
    this.#heir = null;
  }
}
