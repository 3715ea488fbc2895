import type { AnswerStream } from './byte-stream.js';
import { SEND_BYTES } from './limits.js';
import type { Slab, SlabMemory } from './slabs.js';

/** Answers that lie one behind the other. */
interface Segment {
  readonly slab: Slab;
  readonly startAt: number;
  endAt: number;
  /** How many answers. */
  count: number;
  /** Of the requests that they answer. */
  requestBytes: number;
}

/** Hears that answers are in the kernel's hands, or will never be sent. */
export type AnswersSent = (count: number, requestBytes: number) => void;

/**
 * Gathers the answers of one connection and sends them with as few system calls as possible. The order of answers is
 * free in NBD and ggate. While the client takes no more, answers pile up here; the connection's window bounds them.
 *
 * Invariant: `#flying` is not empty exactly while the socket has bytes of ours that the kernel has not taken.
 */
export class Replies {
  #ready: Segment[] = [];
  #readyBytes = 0;
  #flying: Segment[] = [];
  #unconfirmedWrites = 0;
  #isClosed = false;

  constructor(
    private readonly stream: AnswerStream,
    private readonly memory: SlabMemory,
    private readonly sent: AnswersSent,
  ) {}

  /** Takes over one part of `slab`, filled from `startAt` to `endAt`. */
  add(slab: Slab, startAt: number, endAt: number, requestBytes: number): void {
    const ready = this.#ready;
    this.#readyBytes += endAt - startAt;
    // Reads got their place when they were started, others when they were done: two rows that grow in turn.
    for (let index = ready.length - 1; index >= 0 && index >= ready.length - 2; index--) {
      const segment = ready[index];
      if (segment?.slab !== slab || segment.endAt !== startAt) continue;
      segment.endAt = endAt;
      segment.count += 1;
      segment.requestBytes += requestBytes;
      return;
    }
    ready.push({ slab, startAt, endAt, count: 1, requestBytes });
  }

  get isWorthSending(): boolean {
    return this.#readyBytes >= SEND_BYTES;
  }

  get isEmpty(): boolean {
    return this.#ready.length === 0 && this.#flying.length === 0;
  }

  /** Sends what is ready, or does so when the kernel has taken what was sent before. */
  send(): void {
    const segments = this.#ready;
    if (segments.length === 0 || this.#flying.length > 0) return;
    this.#ready = [];
    this.#readyBytes = 0;
    if (this.#isClosed) {
      this.#giveBack(segments);
      return;
    }
    const { stream } = this;
    this.#unconfirmedWrites += 1;
    const last = segments.length - 1;
    if (last > 0) stream.cork();
    for (let index = 0; index <= last; index++) {
      const segment = segments[index];
      if (segment === undefined) continue;
      const bytes = segment.slab.bytes.subarray(segment.startAt, segment.endAt);
      if (index === last) stream.write(bytes, this.#confirmed);
      else stream.write(bytes);
    }
    if (last > 0) stream.uncork();
    // Mostly the kernel takes everything at once; then there is nothing to wait for.
    if (stream.writableLength === 0) this.#giveBack(segments);
    else this.#flying = segments;
  }

  /** The socket is closed: what is not sent yet never will be. */
  close(): void {
    this.#isClosed = true;
    this.#landed();
    this.send();
  }

  /** Also called when a write fails; 'close' follows then. */
  readonly #confirmed = (): void => {
    this.#unconfirmedWrites -= 1;
    if (this.#unconfirmedWrites > 0) return;
    this.#landed();
    this.send();
  };

  #landed(): void {
    const segments = this.#flying;
    this.#flying = [];
    this.#giveBack(segments);
  }

  #giveBack(segments: readonly Segment[]): void {
    let count = 0;
    let requestBytes = 0;
    for (const segment of segments) {
      this.memory.give(segment.slab, segment.count);
      count += segment.count;
      requestBytes += segment.requestBytes;
    }
    if (count > 0) this.sent(count, requestBytes);
  }
}
