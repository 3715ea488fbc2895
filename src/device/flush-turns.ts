import type { DeviceError } from './block-device.js';

export interface FlushTurnsOptions<Flush> {
  /** To flush once for all of these, at least one. ended() is to be called when that is over, and not within this. */
  readonly begin: (flushes: readonly Flush[]) => void;
  readonly answer: (flushes: readonly Flush[], error: DeviceError | null) => void;
}

/**
 * The flushes of one device, one at a time. Those that come while one runs wait for the next one and share it: the
 * running one may have begun before the writes that they are to cover. If it fails they fail with it: they may count on
 * what it should have written, and systems tell of such a loss once, so the next flush may succeed without that.
 */
export class FlushTurns<Flush> {
  #running: readonly Flush[] = [];
  #waiting: Flush[] = [];

  constructor(private readonly options: FlushTurnsOptions<Flush>) {}

  /** Those that share the one that runs; none if none does. */
  get running(): readonly Flush[] {
    return this.#running;
  }

  add(flush: Flush): void {
    this.#waiting.push(flush);
    if (this.#running.length === 0) this.#next();
  }

  /** The one that runs is over. */
  ended(error: DeviceError | null): void {
    const flushes = error === null ? this.#running : [...this.#running, ...this.takeWaiting()];
    this.#running = [];
    this.#next();
    this.options.answer(flushes, error);
  }

  /** Those that are not begun; the caller answers them. */
  takeWaiting(): readonly Flush[] {
    const waiting = this.#waiting;
    this.#waiting = [];
    return waiting;
  }

  #next(): void {
    if (this.#waiting.length === 0) return;
    this.#running = this.#waiting;
    this.#waiting = [];
    this.options.begin(this.#running);
  }
}
