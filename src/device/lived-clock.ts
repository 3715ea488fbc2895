import { HELD_UP_MS, type Clock, type Timer } from './clock.js';

const BEAT_MS = 500;

/**
 * Tells the time without what the whole program stood still for: stopped, without a processor, or suspended with its
 * machine. That is nobody's silence, and whoever looks afterwards has heard nobody yet. Looks around every half second.
 */
export class LivedClock implements Clock {
  #timer: Timer | null = null;
  /** When the next beat is due, by the other clock; never after stop(). */
  #dueMs = 0;
  #lostMs = 0;

  /** `beat` is called every half second. */
  constructor(
    private readonly clock: Clock,
    private readonly beat: () => void,
  ) {
    this.#arm();
  }

  /** Goes back by half a second at most, when it is noticed that time was lost. */
  nowMs(): number {
    const nowMs = this.clock.nowMs();
    const lateMs = nowMs - this.#dueMs;
    if (lateMs > HELD_UP_MS) {
      this.#lostMs += lateMs;
      this.#dueMs = nowMs;
    }
    return nowMs - this.#lostMs;
  }

  after(delayMs: number, run: () => void): Timer {
    const dueMs = this.nowMs() + delayMs;
    const wait = (leftMs: number): Timer =>
      this.clock.after(leftMs, () => {
        const restMs = dueMs - this.nowMs();
        // Timers of the system ring up to a millisecond early.
        if (restMs < 1) run();
        else timer = wait(restMs);
      });
    let timer = wait(delayMs);
    return { cancel: () => timer.cancel() };
  }

  /** No beat comes any more, and from now on all time counts. */
  stop(): void {
    this.#timer?.cancel();
    this.#dueMs = Infinity;
  }

  #arm(): void {
    this.#dueMs = this.clock.nowMs() + BEAT_MS;
    this.#timer = this.clock.after(BEAT_MS, () => {
      this.nowMs();
      this.#arm();
      this.beat();
    });
  }
}
