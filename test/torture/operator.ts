import type { MirrorStatus } from '../../src/control/status.js';
import { until } from '../support/until.js';
import type { Backup } from './backup.js';
import type { EventLog } from './event-log.js';
import type { MirrorDaemon } from './mirror-daemon.js';

/** A component that went away is tried again every 30 s at the latest, more than once if it is slow; then it is copied to. */
const PATIENCE_MS = 240_000;

export interface OperatorOptions {
  readonly mirror: MirrorDaemon;
  readonly backups: readonly Backup[];
  readonly log: EventLog;
  /** What is broken, and ends all waiting. */
  readonly problem: () => string | null;
}

/**
 * Whoever looks after the mirror when there is no trouble any more, and waits and tries again as a person does: on a busy
 * machine a component may be silent for too long all the same. Everything rejects if it does not come to its end.
 */
export class Operator {
  constructor(private readonly options: OperatorOptions) {}

  /** Inserts those that are no components any more. Those that only are away are waited for. */
  async insertSpoiledAnew(): Promise<void> {
    const { mirror, backups, log } = this.options;
    const spoiled = backups.filter(({ isSpoiled }) => isSpoiled);
    if (spoiled.length === 0) return;
    await this.#untilStatus('the other components', ({ components }) =>
      components.every(
        ({ name, state }) => state !== 'DISCONNECTED' || spoiled.some(({ uri }) => uri === name),
      ),
    );
    await mirror.run('forget', mirror.name);
    // Another one may have been away at that moment.
    const { components } = await mirror.status();
    for (const provider of mirror.components.filter((one) => !components.some(({ name }) => name === one))) {
      await until(`${provider} to be inserted`, () => this.#insert(provider), PATIENCE_MS);
      log.note(`inserted anew: ${provider}`);
    }
    for (const backup of spoiled) backup.isSpoiled = false;
  }

  /** A verify from its beginning to its end, which finds nothing. */
  async verify(): Promise<void> {
    await until('a whole verify', () => this.#verify(), PATIENCE_MS);
  }

  untilComplete(): Promise<MirrorStatus> {
    return this.#untilStatus('COMPLETE', ({ state }) => state === 'COMPLETE');
  }

  async #untilStatus(what: string, isSo: (status: MirrorStatus) => boolean): Promise<MirrorStatus> {
    const { mirror, problem } = this.options;
    let last = 'no answer';
    const look = async (): Promise<MirrorStatus | null> => {
      const broken = problem();
      if (broken !== null) throw new Error(broken);
      const status = await mirror.status().catch((error: unknown) => String(error));
      last = typeof status === 'string' ? status : JSON.stringify(status);
      return typeof status !== 'string' && isSo(status) ? status : null;
    };
    return await until(() => `${what}; its status: ${last}`, look, PATIENCE_MS);
  }

  async #insert(provider: string): Promise<boolean> {
    const { mirror } = this.options;
    try {
      await mirror.run('insert', '--force', mirror.name, provider);
      return true;
    } catch (error) {
      const { components } = await mirror.status();
      if (components.some(({ name }) => name === provider)) return true;
      return this.#notYet(
        error,
        /EBUSY|Not all disks connected|no connection within|can't be opened within|unanswered/,
      );
    }
  }

  /** False if a component went away meanwhile. */
  async #verify(): Promise<boolean> {
    const { mirror } = this.options;
    await this.untilComplete();
    try {
      await mirror.run('verify', mirror.name);
      return true;
    } catch (error) {
      const found = String((error as { readonly stdout?: unknown }).stdout);
      return this.#notYet(new Error(`${String(error)}\n${found}`), /is not verified|nothing to be compared/);
    }
  }

  /** Throws the error unless it passes by itself. */
  #notYet(error: unknown, passing: RegExp): false {
    if (this.options.problem() !== null || !passing.test(String(error))) throw error;
    this.options.log.note(`to be tried again: ${String(error)}`);
    return false;
  }
}
