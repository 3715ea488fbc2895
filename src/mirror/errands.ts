import type { BlockIo, BlockOp, Capabilities, DeviceError } from '../device/block-device.js';
import { assert } from '../protocol/errors.js';
import { CLEAR_PIECE_BYTES } from './limits.js';

const ZEROES = Buffer.alloc(CLEAR_PIECE_BYTES);

/** Who sends requests, and is told of their ends. */
export interface ErrandOwner<Io extends Omit<BlockIo, 'done'>> {
  readonly name: string;
  readonly can: Capabilities;
  finished(errand: Errand<Io>, error: DeviceError | null): void;
}

/** One request under way to a component. Answered once: by the device, or by the component when it gives the device up. */
export class Errand<Io extends Omit<BlockIo, 'done'>> implements BlockIo {
  readonly op: BlockOp;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly buffer: Buffer | null;
  readonly bufferAt: number;
  /** For Errands: its neighbours, and when it was first seen by look(). */
  isListed = false;
  older: Errand<Io> | null = null;
  newer: Errand<Io> | null = null;
  seenAtMs: number | null = null;

  constructor(
    private readonly component: ErrandOwner<Io>,
    readonly io: Io,
  ) {
    // Who can't zero a range by itself is sent the zeroes, which are the same for all.
    const mustSendZeroes = io.op === 'write-zeroes' && !component.can.writeZeroes;
    this.op = mustSendZeroes ? 'write' : io.op;
    this.offsetBytes = io.offsetBytes;
    this.lengthBytes = io.lengthBytes;
    this.buffer = mustSendZeroes ? ZEROES : io.buffer;
    this.bufferAt = mustSendZeroes ? 0 : io.bufferAt;
    // The message is put together only where it may be needed: this is on the way of every request.
    if (mustSendZeroes)
      assert(io.lengthBytes <= ZEROES.length, `component ${component.name}: too many zeroes`);
  }

  done(error: DeviceError | null): void {
    this.component.finished(this, error);
  }
}

/**
 * The requests under way to one component, in order of start. They are a list through the requests themselves: a Set
 * leaves its old tables behind when it makes room, and one of those that has grown old keeps everything alive that was
 * in the next, so that half of what a mirror allocated had to be copied and marked before it could go.
 *
 * Invariant: a request that is not in the list has no neighbours, for the same reason.
 */
export class Errands<Io extends Omit<BlockIo, 'done'>> {
  #oldest: Errand<Io> | null = null;
  #newest: Errand<Io> | null = null;
  #count = 0;

  get count(): number {
    return this.#count;
  }

  add(errand: Errand<Io>): void {
    const newest = this.#newest;
    errand.isListed = true;
    errand.older = newest;
    if (newest === null) this.#oldest = errand;
    else newest.newer = errand;
    this.#newest = errand;
    this.#count += 1;
  }

  /** False if it is not there (any more). */
  remove(errand: Errand<Io>): boolean {
    if (!errand.isListed) return false;
    const { older, newer } = errand;
    if (older === null) this.#oldest = newer;
    else older.newer = newer;
    if (newer === null) this.#newest = older;
    else newer.older = older;
    errand.isListed = false;
    errand.older = null;
    errand.newer = null;
    this.#count -= 1;
    return true;
  }

  /** All of them, oldest first. */
  all(): Errand<Io>[] {
    const all: Errand<Io>[] = [];
    for (let errand = this.#oldest; errand !== null; errand = errand.newer) all.push(errand);
    return all;
  }

  /** Takes all out. */
  takeAll(): Errand<Io>[] {
    const all = this.all();
    for (const errand of all) this.remove(errand);
    return all;
  }

  /**
   * How long the oldest has been under way, as far as is known: each counts from the first look at it, so that a request
   * need not ask for the time. 0 without any.
   */
  look(nowMs: number): number {
    for (let errand = this.#newest; errand !== null && errand.seenAtMs === null; errand = errand.older)
      errand.seenAtMs = nowMs;
    return this.#oldest === null ? 0 : nowMs - (this.#oldest.seenAtMs ?? nowMs);
  }
}
