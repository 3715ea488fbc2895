import { assert } from '../protocol/errors.js';
import { balanceName } from '../protocol/gmirror-flags.js';
import type { ByteRange } from '../protocol/geometry.js';
import { listOrder } from './list-order.js';

/**
 * Who answers a read. The first four are gmirror's; 'prefer-local' is ours: local components before remote ones, and
 * 'prefer' among each. It is stored in labels as 'prefer'.
 */
export const BALANCE_ALGORITHMS = ['load', 'round-robin', 'split', 'prefer', 'prefer-local'] as const;
export type BalanceAlgorithm = (typeof BALANCE_ALGORITHMS)[number];

/** What a person may choose; null for all else, 'none' too, with which the kernel never answers a read. */
export const parseBalance = (text: string): BalanceAlgorithm | null =>
  BALANCE_ALGORITHMS.find((name) => name === text) ?? null;

/** What a label asks for; 'prefer' where it says 'none' or a number without a name, so that reads are answered. */
export const balanceOfLabel = (balance: number): BalanceAlgorithm =>
  parseBalance(balanceName(balance)) ?? 'prefer';

/** What a mirror does unless told otherwise: reads stay local where that saves a network, else gmirror's default. */
export const defaultBalance = (components: readonly { readonly isLocal: boolean }[]): BalanceAlgorithm =>
  components.some(({ isLocal }) => isLocal) && components.some(({ isLocal }) => !isLocal)
    ? 'prefer-local'
    : 'load';

export interface BalancedComponent {
  /** 0 to 255, higher first; among equals the one that is later in the array, as in gmirror's list. */
  readonly priority: number;
  readonly isLocal: boolean;
}

export interface BalanceOptions {
  readonly algorithm: BalanceAlgorithm;
  /** 'split' leaves reads up to this length in one piece. */
  readonly sliceBytes: number;
  /** Of the mirror. */
  readonly sectorSizeBytes: number;
  /** In order of arrival. Components are named by their index here. */
  readonly components: readonly BalancedComponent[];
}

/** 'ACTIVE' ones are read from; 'CONNECTED' ones (those that are synchronized) only count in 'load'. */
export type BalanceState = 'ACTIVE' | 'CONNECTED' | 'ABSENT';

/** A part of a read, and who answers it. */
export interface ReadPiece extends ByteRange {
  readonly component: number;
}

/** The balance chooses one component at a time; null if none is ACTIVE. */
type Choose = (offsetBytes: number) => Member | null;

interface MutablePiece {
  component: number;
  offsetBytes: number;
  lengthBytes: number;
}

interface Member {
  readonly component: number;
  state: BalanceState;
  inFlight: number;
  load: number;
  /** Where the last read given to it ends. */
  lastOffsetBytes: number;
}

/** A read that goes on where the last one ended is worth two waiting requests, one nearby is worth one. */
const LOAD_SCALE = 256;
const SEQUENTIAL_BONUS = 2 * LOAD_SCALE;
const NEAR_BONUS = LOAD_SCALE;
const NEAR_BYTES = 1_048_576;

/**
 * Chooses components for reads. Source: gmirror behaviour spec, section 2; FreeBSD 12.1 g_mirror.c,
 * g_mirror_request_*. Nothing is allocated for a read. All components are ABSENT at first.
 *
 * Invariants: #active is those of #members that are ACTIVE, in list order; an ABSENT component has nothing in flight.
 */
export class ReadBalance {
  readonly #sliceBytes: number;
  readonly #sectorSizeBytes: number;
  readonly #splits: boolean;
  readonly #choose: Choose;
  /** By component. */
  readonly #members: readonly Member[];
  /** In list order. */
  readonly #list: readonly Member[];
  #active: readonly Member[] = [];
  /** The component that round-robin uses next if it can. */
  #hint: Member | null = null;
  /** One for each component, reused. */
  readonly #pieces: readonly MutablePiece[];
  /** The answers of 0, 1, 2 ... pieces, reused. */
  readonly #answers: readonly (readonly ReadPiece[])[];

  constructor(options: BalanceOptions) {
    const { components, algorithm } = options;
    this.#sliceBytes = options.sliceBytes;
    this.#sectorSizeBytes = options.sectorSizeBytes;
    this.#splits = algorithm === 'split';
    this.#members = components.map((_, component) => newMember(component));
    const order = listOrder(components.map(({ priority }) => priority));
    const isLocal = (index: number): boolean => components[index]?.isLocal ?? false;
    const local = algorithm === 'prefer-local' ? order.filter(isLocal) : [];
    this.#list = [...local, ...order.filter((index) => !local.includes(index))].map((index) =>
      this.#member(index),
    );
    this.#choose = this.#chooserOf(algorithm);
    this.#pieces = components.map(() => ({ component: 0, offsetBytes: 0, lengthBytes: 0 }));
    this.#answers = [...components, null].map((_, count) => this.#pieces.slice(0, count));
  }

  /** A component that comes back begins anew. */
  setState(component: number, state: BalanceState): void {
    const member = this.#member(component);
    if (state === 'ABSENT') {
      Object.assign(member, newMember(component));
      if (this.#hint === member) this.#hint = null;
    }
    member.state = state;
    this.#active = this.#list.filter((one) => one.state === 'ACTIVE');
  }

  get activeCount(): number {
    return this.#active.length;
  }

  /**
   * Who answers a read, in ascending order of offset; empty if nobody can. Call readStarted for each piece that is
   * sent. The answer is reused by the next call, so it is not kept.
   */
  chooseRead(offsetBytes: number, lengthBytes: number): readonly ReadPiece[] {
    if (this.#splits && lengthBytes > this.#sliceBytes) return this.#split(offsetBytes, lengthBytes);
    const member = this.#choose(offsetBytes);
    if (member === null) return this.#answer(0);
    this.#setPiece(0, member, offsetBytes, lengthBytes);
    return this.#answer(1);
  }

  /** The first ACTIVE component in list order that `isExcluded` lets pass, for a read that failed elsewhere; or -1. */
  chooseOther(isExcluded: (component: number) => boolean): number {
    return this.#active.find(({ component }) => !isExcluded(component))?.component ?? -1;
  }

  /** A piece of a read has been sent. */
  readStarted(piece: ReadPiece): void {
    const member = this.#member(piece.component);
    member.lastOffsetBytes = piece.offsetBytes + piece.lengthBytes;
    member.inFlight += 1;
    for (const one of this.#list) {
      if (one.state !== 'ABSENT') one.load = Math.floor((one.inFlight * LOAD_SCALE + one.load * 7) / 8);
    }
  }

  readDone(component: number): void {
    this.requestDone(component);
  }

  /** Everything but reads counts as well: a write, a flush, a trim, a write of a synchronization. */
  requestStarted(component: number): void {
    this.#member(component).inFlight += 1;
  }

  /** May come late, of a component that has been ABSENT since. */
  requestDone(component: number): void {
    const member = this.#member(component);
    if (member.inFlight > 0) member.inFlight -= 1;
  }

  #chooserOf(algorithm: BalanceAlgorithm): Choose {
    if (algorithm === 'load') return (offsetBytes) => this.#leastLoaded(offsetBytes);
    if (algorithm === 'prefer' || algorithm === 'prefer-local') return () => this.#active[0] ?? null;
    return () => this.#nextInTurn();
  }

  /** Among equals the last in the list, as the kernel has it. */
  #leastLoaded(offsetBytes: number): Member | null {
    let best: Member | null = null;
    let bestPrice = Infinity;
    for (const member of this.#active) {
      const price = member.load - bonus(member, offsetBytes);
      if (price > bestPrice) continue;
      best = member;
      bestPrice = price;
    }
    return best;
  }

  #nextInTurn(): Member | null {
    const used = this.#hint?.state === 'ACTIVE' ? this.#hint : this.#activeAfter(this.#hint);
    this.#hint = used === null ? null : this.#activeAfter(used);
    return used;
  }

  /** The next ACTIVE one in the list behind `member`, round the end and to itself if need be; null: from the head. */
  #activeAfter(member: Member | null): Member | null {
    const start = member === null ? -1 : this.#list.indexOf(member);
    const count = this.#list.length;
    for (let step = 1; step <= count; step++) {
      const next = this.#list[(start + step) % count];
      if (next?.state === 'ACTIVE') return next;
    }
    return null;
  }

  /** Equal pieces in list order, rounded up to sectors, so the last one is shorter and some components may get none. */
  #split(offsetBytes: number, lengthBytes: number): readonly ReadPiece[] {
    const active = this.#active;
    const sector = this.#sectorSizeBytes;
    const pieceBytes = Math.ceil(Math.floor(lengthBytes / active.length) / sector) * sector;
    let doneBytes = 0;
    let count = 0;
    for (const member of active) {
      const restBytes = lengthBytes - doneBytes;
      if (restBytes === 0) break;
      const isLast = count === active.length - 1;
      const taken = isLast ? restBytes : Math.min(pieceBytes, restBytes);
      this.#setPiece(count, member, offsetBytes + doneBytes, taken);
      doneBytes += taken;
      count += 1;
    }
    return this.#answer(count);
  }

  #setPiece(index: number, { component }: Member, offsetBytes: number, lengthBytes: number): void {
    const piece = this.#pieces[index];
    assert(piece !== undefined, 'balance: more pieces than components');
    piece.component = component;
    piece.offsetBytes = offsetBytes;
    piece.lengthBytes = lengthBytes;
  }

  #answer(count: number): readonly ReadPiece[] {
    const answer = this.#answers[count];
    assert(answer !== undefined, 'balance: more pieces than components');
    return answer;
  }

  #member(component: number): Member {
    const member = this.#members[component];
    assert(member !== undefined, `balance: there is no component ${component}`);
    return member;
  }
}

const newMember = (component: number): Member => ({
  component,
  state: 'ABSENT',
  inFlight: 0,
  load: 0,
  lastOffsetBytes: 0,
});

function bonus({ lastOffsetBytes }: Member, offsetBytes: number): number {
  if (lastOffsetBytes === offsetBytes) return SEQUENTIAL_BONUS;
  return Math.abs(lastOffsetBytes - offsetBytes) < NEAR_BYTES ? NEAR_BONUS : 0;
}
