import { DeviceError } from '../device/block-device.js';
import { HELD_UP_MS, type Clock, type Timer } from '../device/clock.js';

export interface SilenceSettings {
  readonly name: string;
  readonly requestTimeoutMs: number;
  readonly clock: Clock;
}

/**
 * Finds a request that stays unanswered. Its time runs from when it was sent, or from when the last one before it was
 * answered: on a slow link a full window takes its time, and cutting a connection that moves would only begin it all
 * anew. One timer, which is looked at when it rings and never moved: requests come too fast for that.
 */
export class SilenceWatch {
  #sinceMs = 0;
  /** The oldest request has got its time once more. */
  #isProlonged = false;
  #timer: Timer | null = null;

  /** `isWaiting` says whether anything is unanswered; `expired` is called with DEVICE_TIMEOUT. */
  constructor(
    private readonly settings: SilenceSettings,
    private readonly isWaiting: () => boolean,
    private readonly expired: (error: DeviceError) => void,
  ) {}

  /** The oldest request is another one from now on. */
  restart(): void {
    this.#isProlonged = false;
    this.#sinceMs = this.settings.clock.nowMs();
  }

  begin(): void {
    if (this.#timer === null) this.#wait(this.settings.requestTimeoutMs);
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = null;
  }

  #wait(delayMs: number): void {
    const { name, clock, requestTimeoutMs } = this.settings;
    const dueMs = clock.nowMs() + delayMs;
    this.#timer = clock.after(delayMs, () => {
      this.#timer = null;
      if (!this.isWaiting()) return;
      // While this program stood still the answer may have come; it is not read yet.
      if (clock.nowMs() - dueMs > HELD_UP_MS && !this.#isProlonged) {
        this.#isProlonged = true;
        this.#sinceMs = clock.nowMs();
      }
      const leftMs = this.#sinceMs + requestTimeoutMs - clock.nowMs();
      if (leftMs > 0) {
        this.#wait(leftMs);
        return;
      }
      const message = `${name}: a request is unanswered after ${requestTimeoutMs} ms; check the link and the server`;
      this.expired(new DeviceError('DEVICE_TIMEOUT', 'ETIMEDOUT', message));
    });
  }
}
