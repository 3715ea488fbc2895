import { killFamily, readPidFile } from '../support/families.js';
import type { SeededRandom } from '../support/seeded-random.js';
import { until } from '../support/until.js';
import type { Backup } from './backup.js';
import type { EventLog } from './event-log.js';
import type { MirrorDaemon } from './mirror-daemon.js';
import type { Workload } from './workload.js';

/** What a promoted mirror is written to before it goes back. */
const WRITES = 40;
/** A server holds on to the session of a client that is gone for some seconds; on a busy machine all takes longer. */
const PATIENCE_MS = 180_000;

export interface FailOverOptions {
  readonly mirror: MirrorDaemon;
  /** Path of its own image, on the host that dies. */
  readonly local: string;
  readonly workload: Workload;
  readonly log: EventLog;
  readonly random: SeededRandom;
  /** What is broken, and ends all waiting. */
  readonly problem: () => string | null;
}

/** After the primary's death its clients go to a backup, and later back. */
export class FailOver {
  #heir: Backup | null = null;

  constructor(private readonly options: FailOverOptions) {}

  /**
   * The primary is dead, and `heir` was in step. It is promoted and written to; what it says is judged as if it had been the
   * mirror all the time. Then it is demoted, or dies and is demoted, and nobody but it has everything.
   */
  async run(heir: Backup): Promise<void> {
    const { mirror, workload, log, random } = this.options;
    this.#heir = heir;
    log.trouble('promote', heir.name);
    await this.#until(`${heir.name} to be promoted`, () => this.#promote(heir));
    workload.moveTo(heir.nbdPathOf(mirror.name));
    const enough = workload.counts.writes + WRITES;
    await this.#until('a promoted mirror to be written', () => workload.counts.writes >= enough);
    workload.moveTo(mirror.nbdPath);
    mirror.goneOnElsewhere();
    if (random.chance(0.4)) {
      log.trouble('kill promoted', heir.name);
      await this.#kill(heir);
    }
    const said = await heir.run('demote', '--force', mirror.name);
    if (!said.includes('is served again')) throw new Error(`${heir.name} does not serve its image: ${said}`);
    this.#heir = null;
    log.note(`demoted: ${heir.name}`);
  }

  /** Ends what is left. */
  async tearDown(): Promise<void> {
    if (this.#heir !== null) await this.#kill(this.#heir);
    this.#heir = null;
  }

  /** False while the server does not know yet that its client is dead. */
  async #promote(heir: Backup): Promise<boolean> {
    const { mirror, local } = this.options;
    try {
      await heir.run('promote', mirror.name, heir.image, `ggate://${heir.cable.primaryAddress}:3080${local}`);
      return true;
    } catch (error) {
      if (!/in use by/.test(String(error))) throw error;
      return false;
    }
  }

  async #kill(heir: Backup): Promise<void> {
    const pid = readPidFile(heir.pidFileOf(this.options.mirror.name));
    if (pid !== null) await killFamily(pid);
  }

  #until(what: string, isSo: () => boolean | Promise<boolean>): Promise<unknown> {
    const look = async (): Promise<boolean> => {
      const broken = this.options.problem();
      if (broken !== null) throw new Error(broken);
      return await isSo();
    };
    return until(what, look, PATIENCE_MS);
  }
}
