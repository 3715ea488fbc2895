import type { DeviceError } from '../device/block-device.js';
import type { Waiter } from './in-flight.js';

/** Requests that are finished and not yet told so: told together, in order, never from within start(). */
export class Completions {
  #waiters: Waiter[] = [];
  #outcomes: (DeviceError | null)[] = [];
  #isDue = false;
  readonly #deliverNow = (): void => {
    this.#isDue = false;
    this.deliver();
  };

  /** `delivered` is called after each batch. */
  constructor(private readonly delivered: () => void) {}

  get isEmpty(): boolean {
    return this.#waiters.length === 0;
  }

  add(waiter: Waiter, outcome: DeviceError | null): void {
    this.#waiters.push(waiter);
    this.#outcomes.push(outcome);
  }

  deliverLater(): void {
    if (this.#isDue || this.#waiters.length === 0) return;
    this.#isDue = true;
    queueMicrotask(this.#deliverNow);
  }

  deliver(): void {
    if (this.#waiters.length === 0) return;
    const waiters = this.#waiters;
    const outcomes = this.#outcomes;
    this.#waiters = [];
    this.#outcomes = [];
    for (let index = 0; index < waiters.length; index++) waiters[index]?.done(outcomes[index] ?? null);
    this.delivered();
  }
}
