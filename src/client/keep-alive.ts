import type { Clock, Timer } from '../device/clock.js';
import { COMMAND } from '../protocol/request.js';
import { KEEP_ALIVE_MIN_MS } from './limits.js';
import type { Pipeline } from './pipeline.js';

/**
 * Sends a ping whenever nothing else was sent for the server's interval: the server ends a session that is silent for
 * three of them, and an unanswered ping shows us a dead server on an idle device.
 */
export class KeepAlive {
  #timer: Timer | null = null;

  constructor(
    private readonly pipeline: Pipeline,
    private readonly clock: Clock,
  ) {}

  /** An interval of 0 means that the server wants none. */
  begin(intervalMs: number): void {
    this.end();
    if (intervalMs === 0) return;
    const everyMs = Math.max(intervalMs, KEEP_ALIVE_MIN_MS);
    const wait = (delayMs: number): void => {
      this.#timer = this.clock.after(delayMs, () => {
        const leftMs = this.pipeline.lastSentMs + everyMs - this.clock.nowMs();
        if (leftMs <= 0) this.pipeline.startEmpty(COMMAND.ping, 0, { done: () => undefined });
        wait(leftMs > 0 ? leftMs : everyMs);
      });
    };
    wait(everyMs);
  }

  end(): void {
    this.#timer?.cancel();
    this.#timer = null;
  }
}
