/**
 * Words of the shared block, on cache lines by who writes them: the main thread, the disk's thread, both. Of `isAsleep`
 * and `isTold`, the disk's thread sets and the main thread clears.
 */
const WORD = { submitted: 0, mode: 1, alarm: 2, finished: 16, isAsleep: 32, isTold: 33 } as const;
const WORD_COUNT = 48;

/** What the thread is to do: everything in the queue; the same and then end; or end, and begin nothing more. */
export const MODE = { run: 0, drain: 1, abandoned: 2 } as const;
export type Mode = (typeof MODE)[keyof typeof MODE];

const FIELD = { op: 0, lengthBytes: 1, payloadAt: 2, errno: 3 } as const;
const FIELD_COUNT = 4;

export const TRANSFER = { read: 1, write: 2 } as const;
export type Transfer = (typeof TRANSFER)[keyof typeof TRANSFER];

/** The shared blocks, as they are handed to the thread. */
export interface SharedQueueBlocks {
  readonly words: SharedArrayBuffer;
  readonly fields: SharedArrayBuffer;
  readonly offsets: SharedArrayBuffer;
  readonly payload: SharedArrayBuffer;
}

/**
 * Requests on their way to the thread and back, first in first out. The main thread fills a slot and then counts
 * `submitted` up; the thread does the request and counts `finished` up. So a slot belongs to the thread from `submitted`
 * to `finished`, and otherwise to the main thread; the counts, which are written and read atomically, carry the rest
 * over. Neither thread ever waits for the other with a lock held.
 *
 * Invariant: finished <= submitted <= finished + slotCount, modulo #modulus.
 */
export class SharedQueue {
  readonly slotCount: number;
  readonly payload: Buffer;
  /** Requests are counted modulo this, the largest multiple of the number of slots that is safe in a word. */
  readonly #modulus: number;
  readonly #words: Int32Array;
  readonly #fields: Int32Array;
  readonly #offsets: Float64Array;

  private constructor(readonly blocks: SharedQueueBlocks) {
    this.payload = Buffer.from(blocks.payload);
    this.#words = new Int32Array(blocks.words);
    this.#fields = new Int32Array(blocks.fields);
    this.#offsets = new Float64Array(blocks.offsets);
    this.slotCount = this.#offsets.length;
    this.#modulus = Math.floor(2 ** 30 / this.slotCount) * this.slotCount;
  }

  static create(slotCount: number, payloadBytes: number): SharedQueue {
    return new SharedQueue({
      words: new SharedArrayBuffer(WORD_COUNT * Int32Array.BYTES_PER_ELEMENT),
      fields: new SharedArrayBuffer(slotCount * FIELD_COUNT * Int32Array.BYTES_PER_ELEMENT),
      offsets: new SharedArrayBuffer(slotCount * Float64Array.BYTES_PER_ELEMENT),
      payload: new SharedArrayBuffer(payloadBytes),
    });
  }

  static from(blocks: SharedQueueBlocks): SharedQueue {
    return new SharedQueue(blocks);
  }

  /** The count after `count`. */
  next(count: number): number {
    return (count + 1) % this.#modulus;
  }

  /** Where the request is that was counted as `count`. */
  slotOf(count: number): number {
    return count % this.slotCount;
  }

  /** Main: describes a request in a free slot. Nobody sees it before submit(). */
  fill(slot: number, op: Transfer, offsetBytes: number, lengthBytes: number, payloadAt: number): void {
    const at = slot * FIELD_COUNT;
    this.#fields[at + FIELD.op] = op;
    this.#fields[at + FIELD.lengthBytes] = lengthBytes;
    this.#fields[at + FIELD.payloadAt] = payloadAt;
    this.#fields[at + FIELD.errno] = 0;
    this.#offsets[slot] = offsetBytes;
  }

  /** Main: hands over what has been filled up to `count`, and wakes the thread if it sleeps. */
  submit(count: number): void {
    Atomics.store(this.#words, WORD.submitted, count);
    this.#wake();
  }

  /** Main. */
  setMode(mode: Mode): void {
    Atomics.store(this.#words, WORD.mode, mode);
    this.#wake();
  }

  /** Main: from now on the thread tells of what it finishes. To be called before `finished` is looked at. */
  listen(): void {
    Atomics.store(this.#words, WORD.isTold, 0);
  }

  /** How many are done, modulo. */
  get finished(): number {
    return Atomics.load(this.#words, WORD.finished);
  }

  get submitted(): number {
    return Atomics.load(this.#words, WORD.submitted);
  }

  get mode(): number {
    return Atomics.load(this.#words, WORD.mode);
  }

  opOf(slot: number): number {
    return this.#fields[slot * FIELD_COUNT + FIELD.op] ?? 0;
  }

  lengthBytesOf(slot: number): number {
    return this.#fields[slot * FIELD_COUNT + FIELD.lengthBytes] ?? 0;
  }

  payloadAtOf(slot: number): number {
    return this.#fields[slot * FIELD_COUNT + FIELD.payloadAt] ?? 0;
  }

  offsetBytesOf(slot: number): number {
    return this.#offsets[slot] ?? 0;
  }

  /** 0 for a success, else the errno's number on ggate's wire. */
  errnoOf(slot: number): number {
    return this.#fields[slot * FIELD_COUNT + FIELD.errno] ?? 0;
  }

  /** Thread: before finish(). */
  setErrno(slot: number, errno: number): void {
    this.#fields[slot * FIELD_COUNT + FIELD.errno] = errno;
  }

  /** Thread: `count` requests are done. */
  finish(count: number): void {
    Atomics.store(this.#words, WORD.finished, count);
  }

  /** Thread: true if the main thread is to be told, once until it listens again. */
  takeTelling(): boolean {
    // Only this thread sets it. If the main thread clears it after this look, it has yet to look at `finished`.
    if (Atomics.load(this.#words, WORD.isTold) === 1) return false;
    Atomics.store(this.#words, WORD.isTold, 1);
    return true;
  }

  /** Thread: sleeps while `submitted` is `count` and the mode is to run. May return early. */
  sleep(count: number): void {
    const alarm = Atomics.load(this.#words, WORD.alarm);
    Atomics.store(this.#words, WORD.isAsleep, 1);
    // What came before the store is seen here; what comes after it changes the alarm, so that there is no sleep.
    if (this.submitted === count && this.mode === MODE.run) Atomics.wait(this.#words, WORD.alarm, alarm);
    Atomics.store(this.#words, WORD.isAsleep, 0);
  }

  #wake(): void {
    if (Atomics.exchange(this.#words, WORD.isAsleep, 0) === 0) return;
    Atomics.add(this.#words, WORD.alarm, 1);
    Atomics.notify(this.#words, WORD.alarm);
  }
}
