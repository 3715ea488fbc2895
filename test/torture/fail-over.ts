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
  #isTriedAgain = false;

  constructor(private readonly options: FailOverOptions) {}

  /**
   * The primary is dead, and `heir` was in step. It is promoted and written to; what it says is judged as if it had been the
   * mirror all the time. Then it is demoted, or dies and is demoted, and nobody but it has everything.
   */
  async run(heir: Backup): Promise<void> {
    const { mirror, workload, log, random } = this.options;
    this.#heir = heir;
    this.#isTriedAgain = false;
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
    await this.#until(`${heir.name} to be demoted`, () => this.#demote(heir));
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
      // An answer that came too late for the command was one all the same.
      return /runs here already/.test(String(error)) || this.#notYet(error, /in use by/);
    }
  }

  async #demote(heir: Backup): Promise<boolean> {
    try {
      await heir.run('demote', '--force', this.options.mirror.name);
      return true;
    } catch (error) {
      return this.#isDemotedAnyway(error) || this.#notYet(error, /in use/);
    }
  }

  /** It was asked for before, and nobody waited for the answer. */
  #isDemotedAnyway(error: unknown): boolean {
    return this.#isTriedAgain && /no such mirror runs, and no server waits/.test(String(error));
  }

  /** False for what is so for a while, or for what a busy machine is too slow for; throws everything else. */
  #notYet(error: unknown, passing: RegExp): false {
    if (!passing.test(String(error)) && !/unanswered|EBUSY|within/.test(String(error))) throw error;
    this.#isTriedAgain = true;
    this.options.log.note(`to be tried again: ${String(error)}`);
    return false;
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
