import { DeviceError } from '../device/block-device.js';
import type { Clock, Timer } from '../device/clock.js';
import type { RandomSource } from '../device/random.js';
import type { ConnectAttempt, Connection } from './connection.js';
import type { RemoteEvents } from './options.js';

export interface ReconnectSettings {
  readonly firstMs: number;
  readonly maxMs: number;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly events: RemoteEvents;
  /** Begins one attempt; looks up the name anew. */
  attempt(): ConnectAttempt;
  /** Takes the connection over. Throws or rejects to have it tried again; then it has ended the connection itself. */
  accept(connection: Connection): Promise<void>;
}

/**
 * Tries until it is connected: after a wait that doubles each time and varies by a quarter, so that clients that lost
 * the same server don't all come back at once. The wait begins small again only after progress(): a server that lets us
 * in and dies of the first request must not be tried five times a second.
 */
export class Reconnector {
  #attempts = 0;
  #timer: Timer | null = null;
  #attempt: ConnectAttempt | null = null;
  #isStopped = false;

  constructor(private readonly settings: ReconnectSettings) {}

  begin(): void {
    if (this.#isStopped) return;
    const { clock, events } = this.settings;
    const delayMs = this.#nextDelayMs();
    this.#attempts += 1;
    events.reconnecting?.(this.#attempts, delayMs);
    this.#timer = clock.after(delayMs, () => {
      this.#timer = null;
      // It handles its failures itself; one of an event's listener is a bug and shall be seen.
      this.#try().catch((error: unknown) =>
        queueMicrotask(() => {
          throw error;
        }),
      );
    });
  }

  progress(): void {
    this.#attempts = 0;
  }

  /** For good. */
  stop(): void {
    this.#isStopped = true;
    this.#timer?.cancel();
    this.#attempt?.cancel();
  }

  #nextDelayMs(): number {
    const { firstMs, maxMs, random } = this.settings;
    const plainMs = Math.min(maxMs, firstMs * 2 ** Math.min(this.#attempts, 30));
    return Math.round(plainMs * (0.75 + (random.nextU32() / 2 ** 32) * 0.5));
  }

  async #try(): Promise<void> {
    const { events } = this.settings;
    try {
      this.#attempt = this.settings.attempt();
      const connection = await this.#attempt.connected;
      if (this.#isStopped) connection.reset();
      else await this.settings.accept(connection);
    } catch (error) {
      // Stopped: the attempt was cancelled by us.
      if (this.#isStopped) return;
      const reason =
        error instanceof DeviceError ? error : new DeviceError('DEVICE_OPEN', 'EIO', String(error));
      events.attemptFailed?.(this.#attempts, reason);
      this.begin();
    } finally {
      this.#attempt = null;
    }
  }
}
