import type { Timer } from '../src/device/clock.js';
import type { Cluster } from './cluster.js';
import { NORMAL_LATENCY_MS } from './disk-handle.js';
import type { World } from './world.js';

/** How often a mirror looks whether a component is silent (Mirror). */
const LOOK_MS = 500;
/** For what a request may wait for one after another: log, generation, marks and labels, each written and flushed, twice. */
const STEPS_IN_A_ROW = 60;
/** There and back on a link, and what disk and link take at the far end of their chances. */
const LINK_MS = 1.5;
/** As many requests as a client has under way, and more. */
const QUEUE_MAX = 64;
/** What the client of a component waits for its last requests when it is closed. */
const DRAIN_MS = 10_000;

interface Span {
  readonly fromMs: number;
  untilMs: number;
}

interface Sole extends Span {
  readonly index: number;
}

/**
 * How long a request to a mirror may take, from what has happened in the meantime:
 *
 * - once the time-out of a component, and the moment until somebody looks, for each component that was there when it
 *   began, and for each that has come since: each may hang once before it is dropped, one after the other; and for all of
 *   them whenever a clock has jumped;
 * - as long as the disk of the only component in step hangs, which is never dropped;
 * - a number of steps in a row, each as long as the slowest disk takes, for each request in whose queue it stands.
 */
export class Patience {
  readonly #arrivals: number[] = [];
  readonly #soles: Sole[] = [];

  constructor(
    private readonly cluster: Cluster,
    private readonly timeoutMs: number,
  ) {}

  /** A component has come, and may be in the way. */
  arrived(): void {
    this.#arrivals.push(this.cluster.world.nowMs);
  }

  /** A program's clock has jumped, as if it had stood still: whoever it waits for gets its time once more. */
  heldUp(): void {
    this.cluster.hosts.forEach(() => this.arrived());
  }

  /** The components in step are these now. */
  inStep(indexes: readonly number[]): void {
    const { nowMs } = this.cluster.world;
    const last = this.#soles.at(-1);
    const [index] = indexes;
    if (last?.untilMs === Infinity) last.untilMs = nowMs;
    if (index !== undefined && indexes.length === 1)
      this.#soles.push({ index, fromMs: nowMs, untilMs: Infinity });
  }

  /** For a request that began then, with so many others before it. */
  allowedMs(fromMs: number, inFlight: number): number {
    const { hosts, world } = this.cluster;
    const comings = hosts.length + this.#arrivals.filter((atMs) => atMs >= fromMs).length;
    const disks = hosts.map(({ drive }) => drive.conduct);
    const slowestMs = Math.max(...disks.map((conduct) => conduct.slowestMs(fromMs)), NORMAL_LATENCY_MS);
    const soleMs = this.#soles.reduce((sum, sole) => {
      const span = { fromMs: Math.max(sole.fromMs, fromMs), untilMs: Math.min(sole.untilMs, world.nowMs) };
      return sum + (disks[sole.index]?.hungMs(span) ?? 0);
    }, 0);
    const stepMs = 2 * slowestMs + LINK_MS;
    return comings * (this.timeoutMs + LOOK_MS) + soleMs + STEPS_IN_A_ROW * stepMs * (1 + inFlight);
  }

  /**
   * For the end of a mirror that began then: requests may have to end first, and then what the mirror does by itself; the
   * last attempt to reach a component, and its connection.
   */
  allowedToStopMs(fromMs: number): number {
    return 2 * this.allowedMs(fromMs, QUEUE_MAX) + 3 * (this.timeoutMs + LOOK_MS) + DRAIN_MS;
  }
}

/** Calls `hangs` when something takes longer than it may, as that is known when its time is over. To be cancelled. */
export function expectWithin(world: World, allowedMs: () => number, hangs: () => void): Timer {
  const startedMs = world.nowMs;
  let timer: Timer;
  const wait = (): void => {
    timer = world.after(startedMs + allowedMs() - world.nowMs, () => {
      // What happened meanwhile may have given it more time.
      if (startedMs + allowedMs() - world.nowMs > 1) wait();
      else hangs();
    });
  };
  wait();
  return { cancel: () => timer.cancel() };
}
