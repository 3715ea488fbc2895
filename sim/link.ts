import type { Chance } from './chance.js';
import type { World } from './world.js';

/** What is on its way in one direction, in order. */
interface Message {
  readonly dueMs: number;
  readonly deliver: () => void;
}

/** Of a wire: the end that connected, and the one that was connected to. */
export type Direction = 'out' | 'back';

/** What a link carries. */
export interface Carried {
  /** The link is cut, or loses what this host sends. */
  cut(fromHost: string | null): void;
  /** What waited goes on. */
  pump(): void;
}

/** The way between two hosts: slow, stalled in either direction, or cut. */
export class Link {
  latencyMs = 0.5;
  isCut = false;
  /** By name of the host that sends. */
  readonly stalledFrom = new Set<string>();
  /** What these hosts send is lost, and nothing else. */
  readonly #lossyFrom = new Set<string>();
  readonly #wires = new Set<Carried>();

  constructor(
    readonly world: World,
    readonly chance: Chance,
  ) {}

  /** A connection from a host to the other one. */
  connect(fromHost: string, toHost: string): Wire {
    const wire = new Wire(this, { out: fromHost, back: toHost });
    this.#wires.add(wire);
    return wire;
  }

  join(carried: Carried): void {
    this.#wires.add(carried);
  }

  isLossy(fromHost: string): boolean {
    return this.isCut || this.#lossyFrom.has(fromHost);
  }

  /** What is on its way is lost, or only what `fromHost` sends; the ends notice at some time, or when they wait for too long. */
  cut(fromHost: string | null = null): void {
    if (fromHost === null) this.isCut = true;
    else this.#lossyFrom.add(fromHost);
    for (const wire of this.#wires) wire.cut(fromHost);
  }

  stall(fromHost: string): void {
    this.stalledFrom.add(fromHost);
  }

  heal(): void {
    this.isCut = false;
    this.stalledFrom.clear();
    this.#lossyFrom.clear();
    for (const wire of this.#wires) wire.pump();
  }

  forget(wire: Carried): void {
    this.#wires.delete(wire);
  }
}

/** One connection: both directions keep their order, and end together, though not always at the same time. */
export class Wire implements Carried {
  readonly #queues: Record<Direction, Message[]> = { out: [], back: [] };
  readonly #lastMs: Record<Direction, number> = { out: 0, back: 0 };
  readonly #isTimed: Record<Direction, boolean> = { out: false, back: false };
  #isCut = false;
  /** Called once at most for each end: the connection is gone. */
  readonly #ends: Record<Direction, (() => void) | null> = { out: null, back: null };

  constructor(
    private readonly link: Link,
    private readonly senders: Readonly<Record<Direction, string>>,
  ) {}

  /** `direction` out: the end that connected. */
  onEnd(direction: Direction, run: () => void): void {
    this.#ends[direction] = run;
  }

  send(direction: Direction, deliver: () => void): void {
    if (this.#isCut) return;
    const { world, chance, latencyMs } = this.link;
    const dueMs = Math.max(this.#lastMs[direction], world.nowMs + chance.delayMs(latencyMs));
    this.#lastMs[direction] = dueMs;
    this.#queues[direction].push({ dueMs, deliver });
    this.#arm(direction);
  }

  /** One end is closed: what it sent still arrives, then the other end learns of it. */
  closeFrom(direction: Direction): void {
    this.#ends[direction] = null;
    this.send(direction, () => {
      this.#isCut = true;
      this.link.forget(this);
      this.#tell(direction === 'out' ? 'back' : 'out');
    });
  }

  /** The host at one end has no such connection any more, and says so when it is spoken to. */
  reset(): void {
    this.#drop();
    this.#tell('out');
    this.#tell('back');
  }

  cut(): void {
    this.#drop();
    for (const direction of ['out', 'back'] as const) {
      // At once, late, or never: then only a time-out tells.
      const noticedMs = this.link.chance.pick([0, 200, 3000, null, null]);
      if (noticedMs !== null) this.link.world.after(noticedMs, () => this.#tell(direction));
    }
  }

  /** After a stall: what waited goes on. */
  pump(): void {
    for (const direction of ['out', 'back'] as const) this.#arm(direction);
  }

  #drop(): void {
    this.#isCut = true;
    this.#queues.out.length = 0;
    this.#queues.back.length = 0;
    this.link.forget(this);
  }

  #tell(direction: Direction): void {
    const run = this.#ends[direction];
    this.#ends[direction] = null;
    run?.();
  }

  #arm(direction: Direction): void {
    const [next] = this.#queues[direction];
    if (next === undefined || this.#isTimed[direction] || this.#isStalled(direction)) return;
    this.#isTimed[direction] = true;
    const { world } = this.link;
    world.after(next.dueMs - world.nowMs, () => {
      this.#isTimed[direction] = false;
      if (!this.#isStalled(direction)) this.#queues[direction].shift()?.deliver();
      this.#arm(direction);
    });
  }

  #isStalled(direction: Direction): boolean {
    return this.link.stalledFrom.has(this.senders[direction]);
  }
}
