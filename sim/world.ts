import type { Timer } from '../src/device/clock.js';
import { turnBegins } from './watchdog.js';

interface Event {
  readonly atMs: number;
  /** Among events of one time the order of their making decides. */
  readonly order: number;
  /** Null when cancelled. */
  run: (() => void) | null;
}

const isBefore = (one: Event, other: Event): boolean =>
  one.atMs < other.atMs || (one.atMs === other.atMs && one.order < other.order);

/** The mirror did what it must not. */
export class BrokenPromise extends Error {
  override readonly name = 'BrokenPromise';
}

/** Ten times as many as the longest life has; one that needs more does not end. */
const EVENTS_MAX = 1_000_000;

/** Lets every promise that can go on go on, until all of them wait for an event of ours. */
const everyPromise = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/**
 * Simulated time. Nothing in a world waits for anything but its events, which run one after another; between two of
 * them all promises run until they wait again. So a world repeats itself exactly.
 */
export class World {
  readonly #heap: Event[] = [];
  #order = 0;
  #nowMs = 0;
  /** What is wrong; the first thing counts. */
  #failure: Error | null = null;
  eventCount = 0;

  /** `trace` gets every line with its time. */
  constructor(private readonly trace: ((line: string) => void) | null) {}

  get nowMs(): number {
    return this.#nowMs;
  }

  get failure(): Error | null {
    return this.#failure;
  }

  /** A number that grows with each call, to tell what came first. */
  nextOrder(): number {
    this.#order += 1;
    return this.#order;
  }

  after(delayMs: number, run: () => void): Timer {
    const event: Event = { atMs: this.#nowMs + Math.max(0, delayMs), order: this.nextOrder(), run };
    this.#push(event);
    return { cancel: () => (event.run = null) };
  }

  say(line: () => string): void {
    this.trace?.(`${(this.#nowMs / 1000).toFixed(4).padStart(10)} s  ${line()}`);
  }

  fail(what: Error | string): void {
    if (this.#failure !== null) return;
    this.#failure = what instanceof Error ? what : new BrokenPromise(what);
    this.say(() => `FAILED: ${this.#failure?.message ?? ''}`);
  }

  /** Runs events until `isDone`, or none is left before `untilMs`, or something failed. */
  async run(isDone: () => boolean, untilMs: number): Promise<void> {
    await everyPromise();
    while (this.#failure === null && !isDone()) {
      const next = this.#heap[0];
      if (next === undefined || next.atMs > untilMs) break;
      this.#pop();
      if (next.run === null) continue;
      this.#nowMs = next.atMs;
      this.eventCount += 1;
      turnBegins();
      if (this.eventCount > EVENTS_MAX) this.fail(`it did not end after ${EVENTS_MAX} events`);
      try {
        next.run();
      } catch (error) {
        this.fail(error as Error);
      }
      await everyPromise();
    }
    if (this.#failure === null && !isDone()) this.#nowMs = Math.max(this.#nowMs, untilMs);
  }

  #push(event: Event): void {
    const heap = this.#heap;
    let at = heap.length;
    while (at > 0) {
      const parentAt = Math.floor((at - 1) / 2);
      const parent = heap[parentAt];
      if (parent === undefined || !isBefore(event, parent)) break;
      heap[at] = parent;
      at = parentAt;
    }
    heap[at] = event;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let at = 0;
    for (;;) {
      const left = 2 * at + 1;
      const right = left + 1;
      const [one, other] = [heap[left], heap[right]];
      if (one === undefined) break;
      const isRight = other !== undefined && isBefore(other, one);
      const child = isRight ? other : one;
      if (!isBefore(child, last)) break;
      heap[at] = child;
      at = isRight ? right : left;
    }
    heap[at] = last;
  }
}
