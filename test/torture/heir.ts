import { killFamily, readPidFile } from '../support/families.js';
import { until } from '../support/until.js';
import type { Backup } from './backup.js';
import type { EventLog } from './event-log.js';
import type { MirrorDaemon } from './mirror-daemon.js';

/** A server holds on to the session of a client that is gone for some seconds; on a busy machine all takes longer. */
const PATIENCE_MS = 180_000;

export interface HeirOptions {
  readonly mirror: MirrorDaemon;
  readonly log: EventLog;
  /** What is broken, and ends all waiting. */
  readonly problem: () => string | null;
}

/** A backup that the mirror runs on for a while, and the operator there, who tries again what a busy machine is too slow for. */
export class Heir {
  #isTriedAgain = false;

  constructor(
    readonly backup: Backup,
    private readonly options: HeirOptions,
  ) {}

  get nbdPath(): string {
    return this.backup.nbdPathOf(this.options.mirror.name);
  }

  /** Where it finds the image of the primary, once that is served. */
  get primaryUri(): string {
    return `ggate://${this.backup.cable.primaryAddress}:3080${this.options.mirror.local}`;
  }

  async promote(...flags: readonly string[]): Promise<void> {
    await this.until(`${this.backup.name} to be promoted`, () => this.#promote(flags));
  }

  async demote(): Promise<void> {
    await this.until(`${this.backup.name} to be demoted`, () => this.#demote());
    this.options.log.note(`demoted: ${this.backup.name}`);
  }

  async kill(): Promise<void> {
    const pid = readPidFile(this.backup.pidFileOf(this.options.mirror.name));
    if (pid !== null) await killFamily(pid);
  }

  /** Waits for it, unless something else is broken. */
  until(what: string, isSo: () => boolean | Promise<boolean>): Promise<unknown> {
    const look = async (): Promise<boolean> => {
      const broken = this.options.problem();
      if (broken !== null) throw new Error(broken);
      return await isSo();
    };
    return until(what, look, PATIENCE_MS);
  }

  /** False for what is so for a while, or for what a busy machine is too slow for; throws everything else. */
  notYet(error: unknown, passing: RegExp): false {
    if (!passing.test(String(error)) && !/unanswered|EBUSY|within/.test(String(error))) throw error;
    this.#isTriedAgain = true;
    this.options.log.note(`to be tried again: ${String(error)}`);
    return false;
  }

  /** False while the server does not know yet that its client is dead. */
  async #promote(flags: readonly string[]): Promise<boolean> {
    const { backup, primaryUri } = this;
    try {
      await backup.run('promote', ...flags, this.options.mirror.name, backup.image, primaryUri);
      return true;
    } catch (error) {
      // An answer that came too late for the command was one all the same.
      return /runs here already/.test(String(error)) || this.notYet(error, /in use by/);
    }
  }

  async #demote(): Promise<boolean> {
    try {
      await this.backup.run('demote', '--force', this.options.mirror.name);
      return true;
    } catch (error) {
      return this.#isDemotedAnyway(error) || this.notYet(error, /in use/);
    }
  }

  /** It was asked for before, and nobody waited for the answer. */
  #isDemotedAnyway(error: unknown): boolean {
    return this.#isTriedAgain && /no such mirror runs, and no server waits/.test(String(error));
  }
}
