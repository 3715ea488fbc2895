import type { Clock } from '../device/clock.js';
import { GARBAGE_LOG_HOSTS_MAX, GARBAGE_LOG_INTERVAL_MS } from './limits.js';

type Fields = Readonly<Record<string, unknown>>;
type Write = (fields: Fields, message: string) => void;

/** The part of a pino logger that the server uses. */
export interface ServerLog {
  readonly debug: Write;
  readonly info: Write;
  readonly warn: Write;
  readonly error: Write;
}

interface Remembered {
  readonly loggedAtMs: number;
  suppressed: number;
}

/**
 * Passes on at most one line per key and interval and counts the others; the next line that gets through carries the
 * count. A flood of nonsense must not fill the disk with log.
 */
export class QuietLog {
  /** In the order in which they were last logged. */
  readonly #remembered = new Map<string, Remembered>();

  constructor(
    private readonly log: ServerLog,
    private readonly clock: Clock,
    private readonly intervalMs = GARBAGE_LOG_INTERVAL_MS,
    private readonly keysMax = GARBAGE_LOG_HOSTS_MAX,
  ) {}

  write(key: string, level: keyof ServerLog, fields: Fields, message: string): void {
    const nowMs = this.clock.nowMs();
    const last = this.#remembered.get(key);
    if (last !== undefined && nowMs - last.loggedAtMs < this.intervalMs) {
      last.suppressed += 1;
      return;
    }
    this.#remembered.delete(key);
    this.#remembered.set(key, { loggedAtMs: nowMs, suppressed: 0 });
    const [oldest] = this.#remembered.keys();
    if (this.#remembered.size > this.keysMax && oldest !== undefined) this.#remembered.delete(oldest);
    const suppressed = last?.suppressed ?? 0;
    this.log[level](suppressed === 0 ? fields : { ...fields, suppressed }, message);
  }
}
