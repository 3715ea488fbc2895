import type { Clock, Timer } from '../src/device/clock.js';
import type { World } from './world.js';

/** A program in the world. When it is killed nothing of it runs any more: no timer, no answer to a request. */
export class SimProcess implements Clock {
  #isAlive = true;
  #aheadMs = 0;
  readonly #whenKilled = new Set<() => void>();

  constructor(
    private readonly world: World,
    readonly name: string,
  ) {}

  get isAlive(): boolean {
    return this.#isAlive;
  }

  nowMs(): number {
    return this.world.nowMs + this.#aheadMs;
  }

  /** Its clock goes on by so much at once, as one does while its machine sleeps; no timer of it has rung meanwhile. */
  jump(byMs: number): void {
    this.#aheadMs += byMs;
  }

  after(delayMs: number, run: () => void): Timer {
    return this.world.after(delayMs, () => {
      if (this.#isAlive) run();
    });
  }

  /** What the kernel does with what it had open. */
  onKill(run: () => void): { cancel(): void } {
    this.#whenKilled.add(run);
    return { cancel: () => this.#whenKilled.delete(run) };
  }

  kill(): void {
    if (!this.#isAlive) return;
    this.#isAlive = false;
    for (const run of this.#whenKilled) run();
    this.#whenKilled.clear();
  }
}
