import type { Clock, Timer } from '../../src/device/clock.js';

interface Pending {
  readonly atMs: number;
  readonly run: () => void;
}

/** Time that stands still until a test moves it. */
export class FakeClock implements Clock {
  readonly #pending = new Set<Pending>();
  #nowMs = 0;

  nowMs(): number {
    return this.#nowMs;
  }

  after(delayMs: number, run: () => void): Timer {
    const pending = { atMs: this.#nowMs + delayMs, run };
    this.#pending.add(pending);
    return { cancel: () => void this.#pending.delete(pending) };
  }

  /** How many timers run. */
  get timerCount(): number {
    return this.#pending.size;
  }

  /** The program stands still: time goes by and nothing is run, also not what falls due, before advance(). */
  standStill(ms: number): void {
    this.#nowMs += ms;
  }

  /** Runs what falls due, in order of time, also what is started by it. */
  advance(ms: number): void {
    const endMs = this.#nowMs + ms;
    for (;;) {
      let next: Pending | null = null;
      for (const pending of this.#pending) {
        if (pending.atMs <= endMs && (next === null || pending.atMs < next.atMs)) next = pending;
      }
      if (next === null) break;
      this.#pending.delete(next);
      this.#nowMs = Math.max(this.#nowMs, next.atMs);
      next.run();
    }
    this.#nowMs = endMs;
  }
}
