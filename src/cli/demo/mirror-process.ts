import type { ComponentStatus, MirrorStatus } from '../../control/status.js';
import { systemClock } from '../../device/clock.js';
import { CommandError, InterruptedError } from '../errors.js';
import { delayUnless, type Interrupt } from '../interrupt.js';
import { askStatus } from '../mirrors/run-dir.js';
import { OwnProcess, type Surroundings } from './own-process.js';

const LIMIT_MS = 30_000;
const POLL_MS = 100;

export interface MirrorProcessOptions {
  readonly name: string;
  readonly components: readonly string[];
  /** Where ggate clients find it. */
  readonly port: number;
  /** As `--resync-rate` has it. */
  readonly resyncRate: string;
  readonly runDirectory: string;
  readonly around: Surroundings;
}

/** `ggmirror start` of one mirror, as a child of ours, so that it can't outlive us. */
export class MirrorProcess extends OwnProcess {
  readonly uri: string;

  constructor(private readonly options: MirrorProcessOptions) {
    const { name, components, port, resyncRate, around } = options;
    const given = ['--ggate-port', String(port), '--resync-rate', resyncRate];
    super(['start', '--foreground', ...given, name, ...components], around, `${name}.log`);
    this.uri = `ggate://127.0.0.1:${port}/dev/mirror/${name}`;
  }

  /**
   * Looks at its status until `isDone` says so. Throws CommandError with the mirror's own words when that takes too
   * long, InterruptedError at a signal.
   */
  async until(isDone: (status: MirrorStatus) => boolean, interrupt: Interrupt): Promise<MirrorStatus> {
    const deadlineMs = systemClock.nowMs() + LIMIT_MS;
    for (;;) {
      const status = await this.#status();
      if (status !== null && isDone(status)) return status;
      if (interrupt.signalNumber !== null) throw new InterruptedError('interrupted', interrupt.signalNumber);
      if (this.hasEnded || systemClock.nowMs() > deadlineMs) {
        throw new CommandError(`the mirror does not come so far\n${this.said}`);
      }
      await delayUnless(interrupt, POLL_MS);
    }
  }

  /** Null while it does not answer: it may still be starting. */
  async #status(): Promise<MirrorStatus | null> {
    try {
      return await askStatus(this.options.name, { runDir: this.options.runDirectory });
    } catch (error) {
      if (error instanceof CommandError) return null;
      throw error;
    }
  }
}

export const componentOf = ({ components }: MirrorStatus, name: string): ComponentStatus => {
  const found = components.find((component) => component.name === name);
  if (found === undefined) throw new CommandError(`the mirror has no component ${name}`);
  return found;
};
