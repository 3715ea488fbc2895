import { HELD_UP_MS, type Clock, type Timer } from '../device/clock.js';

const BEAT_MS = 500;

/**
 * Looks around every half second, and tells the time without what the whole program stood still for: stopped, without a
 * processor, or suspended with its machine. That is nobody's silence, and whoever looks afterwards has heard nobody yet.
 */
export class Heartbeat {
  #timer: Timer | null = null;
  #lostMs = 0;

  constructor(
    private readonly clock: Clock,
    private readonly beat: () => void,
  ) {
    this.#arm();
  }

  /** Milliseconds. Goes back when it is noticed that time was lost, by that. */
  nowMs(): number {
    return this.clock.nowMs() - this.#lostMs;
  }

  stop(): void {
    this.#timer?.cancel();
  }

  #arm(): void {
    const dueMs = this.clock.nowMs() + BEAT_MS;
    this.#timer = this.clock.after(BEAT_MS, () => {
      const lateMs = this.clock.nowMs() - dueMs;
      if (lateMs > HELD_UP_MS) this.#lostMs += lateMs;
      this.#arm();
      this.beat();
    });
  }
}
