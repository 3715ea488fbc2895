import { availableParallelism } from 'node:os';
import { type Clock, systemClock } from '../clock.js';
import { native as systemNative, type Native } from './native.js';

/**
 * Waking a thread that sleeps takes 10 to 60 µs, and the longer the deeper its processor sleeps: more than serving a small
 * request. So much is waited awake at most, in milliseconds.
 */
export const AWAKE_MS = 0.3;

/** A client that comes again within this time, in milliseconds, is quick: the next time it is waited for awake. */
export const QUICK_MS = 0.35;

/**
 * The C library for whoever waits awake, which is to call sched_yield in every round: what it waits for may need the
 * processor that it has. Null where nobody should: without the C library, and with only one processor.
 */
export const nativeToWaitAwake = (): Native | null => (availableParallelism() > 1 ? systemNative() : null);

/**
 * Keeps the event loop from sleeping while it serves somebody who sends one request at a time and quickly. A client that
 * lets us wait longer is not waited for awake, so one far away or at rest costs no processor time.
 */
export class AwakeLoop {
  #lastMs = -Infinity;
  #untilMs = 0;
  #isTurning = false;

  constructor(
    private readonly native = nativeToWaitAwake(),
    private readonly clock: Pick<Clock, 'nowMs'> = systemClock,
    /** Calls back when the event loop has looked once, without sleeping, at all that it serves. */
    private readonly nextTurn: (run: () => void) => void = (run) => void setImmediate(run),
  ) {}

  /** A request has come while none was under way. */
  cameAlone(): void {
    if (this.native === null) return;
    const nowMs = this.clock.nowMs();
    const isQuick = nowMs - this.#lastMs < QUICK_MS;
    this.#lastMs = nowMs;
    if (!isQuick) return;
    this.#untilMs = nowMs + AWAKE_MS;
    if (this.#isTurning) return;
    this.#isTurning = true;
    this.nextTurn(this.#turn);
  }

  readonly #turn = (): void => {
    if (this.clock.nowMs() < this.#untilMs) {
      this.native?.call('sched_yield');
      this.nextTurn(this.#turn);
    } else this.#isTurning = false;
  };
}
