import type { Clock } from '../../device/clock.js';
import { LivedClock } from '../../device/lived-clock.js';
import { PHASE, type SessionMemory } from './memory.js';
import type { SessionEnd } from './messages.js';

export interface WatchdogLimits {
  /** A disk call that lasts longer counts as hung. */
  readonly diskTimeoutMs: number;
  /** Silence that ends a session with keep-alive; 0 for never. */
  readonly silentMsMax: number;
  /** Silence within a request; ggated's receive time-out (ggate protocol spec, section 1). */
  readonly stuckMsMax: number;
  /** How long a client may leave its answers untaken. */
  readonly sendTimeoutMs: number;
}

export interface WatchdogActions {
  diskHangs(silentMs: number): void;
  end(reason: SessionEnd): void;
}

/**
 * Looks at the engine's phase from outside, for the engine itself sleeps in system calls. It looks every half second, so
 * every limit is kept to within that; what the whole process stood still for does not count.
 */
export class Watchdog {
  /** Goes on, with all time, after stop(). */
  readonly clock: LivedClock;
  readonly #engine: StoodStill;
  /** The sender's thread, which begins and ends. */
  readonly #sender: StoodStill;

  constructor(
    private readonly memory: SessionMemory,
    private readonly limits: WatchdogLimits,
    private readonly actions: WatchdogActions,
    clock: Clock,
  ) {
    this.clock = new LivedClock(clock, () => this.#look());
    this.#engine = new StoodStill(() => memory.moves, this.clock);
    this.#sender = new StoodStill(() => memory.sends, this.clock);
  }

  /** How long the engine has been where it is; while it reads, how long the client has been silent and taken nothing. */
  silentMs(): number {
    const stillMs = this.#engine.ms();
    return this.memory.phase === PHASE.reading ? Math.min(stillMs, this.#sender.ms()) : stillMs;
  }

  stop(): void {
    this.clock.stop();
  }

  #look(): void {
    const { memory, limits, actions } = this;
    const silentMs = this.silentMs();
    const isPast = (limitMs: number): boolean => silentMs >= limitMs;
    switch (memory.phase) {
      case PHASE.disk:
        if (isPast(limits.diskTimeoutMs)) actions.diskHangs(silentMs);
        break;
      case PHASE.reading: {
        if (memory.isSending) {
          if (isPast(limits.sendTimeoutMs)) actions.end('client takes no answers');
          break;
        }
        const isWithinRequest = memory.have > memory.at || memory.skipBytes > 0;
        if (isWithinRequest && isPast(limits.stuckMsMax)) actions.end('stuck in a request');
        else if (limits.silentMsMax > 0 && isPast(limits.silentMsMax)) actions.end('client silent');
        break;
      }
      case PHASE.sending:
        if (isPast(limits.sendTimeoutMs)) actions.end('client takes no answers');
        break;
      default:
        break;
    }
  }
}

/** For how long a number has been the same, whenever it was looked at. */
class StoodStill {
  #value: number;
  #sinceMs: number;

  constructor(
    private readonly look: () => number,
    private readonly clock: Pick<LivedClock, 'nowMs'>,
  ) {
    this.#value = look();
    this.#sinceMs = clock.nowMs();
  }

  ms(): number {
    const value = this.look();
    if (value !== this.#value) {
      this.#value = value;
      this.#sinceMs = this.clock.nowMs();
    }
    return this.clock.nowMs() - this.#sinceMs;
  }
}
