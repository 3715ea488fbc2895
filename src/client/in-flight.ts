import type { DeviceError } from '../device/block-device.js';
import { assert } from '../protocol/errors.js';

/** Who waits for a request: a caller's BlockIo, or a ping. */
export interface Waiter {
  done(error: DeviceError | null): void;
}

/** One request on the wire, a slot of the table below: reused, so not kept by anyone beyond `remove`. */
export class WireRequest {
  /** 0 while the slot is free; requests count from 1, as the FreeBSD kernel does. */
  seq = 0;
  command = 0;
  offsetBytes = 0;
  lengthBytes = 0;
  /** Lent by the waiter: a write's payload, or where an answer's data goes. */
  buffer: Buffer | null = null;
  bufferAt = 0;
  /** The data in a good answer. Known from the request, never from the wire. */
  answerBytes = 0;
  waiter: Waiter | null = null;
  /** What it counts against the window's bytes. */
  windowBytes = 0;
  /** Whether a later connection has to send it again. */
  isReplayed = false;
  wasSent = false;
  /** How many writes had been acknowledged when it was made: what it covers if it is a flush. */
  coveredWrites = 0;
  /** An answer's error number, if it came while the payload was still lent. Until it no longer is, nobody is told. */
  earlyErrorNumber: number | null = null;
  /** Of a flush: another one has failed since it was asked for, so it fails with that whatever its answer is. */
  doom: DeviceError | null = null;
}

/**
 * Requests with a sequence number and no answer yet, in order of those numbers.
 * Invariants: oldestSeq <= nextSeq <= oldestSeq + size; every used slot's seq lies from oldestSeq up to below nextSeq,
 * and oldestSeq itself is used unless the table is empty, when it equals nextSeq.
 */
export class InFlightTable {
  readonly #slots: readonly WireRequest[];
  #count = 0;
  #bytes = 0;
  #oldestSeq = 1;
  #nextSeq = 1;

  constructor(size: number) {
    this.#slots = Array.from({ length: size }, () => new WireRequest());
  }

  get count(): number {
    return this.#count;
  }

  /** Payload of all requests in the table. */
  get bytes(): number {
    return this.#bytes;
  }

  get oldestSeq(): number {
    return this.#oldestSeq;
  }

  get nextSeq(): number {
    return this.#nextSeq;
  }

  /** One request that is never answered would otherwise let the numbers run away from it. */
  get isFull(): boolean {
    return this.#nextSeq - this.#oldestSeq >= this.#slots.length;
  }

  /** A slot with the next number, to be filled in by the caller. */
  add(windowBytes: number): WireRequest {
    assert(!this.isFull, 'in-flight table: add() while full');
    const request = this.#slot(this.#nextSeq);
    assert(request.seq === 0, 'in-flight table: the slot is in use');
    request.seq = this.#nextSeq;
    this.#nextSeq += 1;
    this.#count += 1;
    this.#bytes += windowBytes;
    request.windowBytes = windowBytes;
    request.wasSent = false;
    return request;
  }

  /** Null for a number that is not in flight, whatever it is. */
  find(seq: number): WireRequest | null {
    if (!(seq >= this.#oldestSeq && seq < this.#nextSeq)) return null;
    const request = this.#slot(seq);
    return request.seq === seq ? request : null;
  }

  /** Frees the slot and returns who waits for it. */
  remove(request: WireRequest): Waiter {
    const { waiter } = request;
    assert(request.seq !== 0 && waiter !== null, 'in-flight table: remove() of a free slot');
    this.#count -= 1;
    this.#bytes -= request.windowBytes;
    const wasOldest = request.seq === this.#oldestSeq;
    request.seq = 0;
    request.buffer = null;
    request.waiter = null;
    request.earlyErrorNumber = null;
    request.doom = null;
    if (wasOldest) this.#advance();
    return waiter;
  }

  /** Everything in flight, oldest first; the slots of that moment. */
  all(): WireRequest[] {
    const requests: WireRequest[] = [];
    for (let seq = this.#oldestSeq; seq < this.#nextSeq; seq++) {
      const request = this.find(seq);
      if (request !== null) requests.push(request);
    }
    return requests;
  }

  #advance(): void {
    while (this.#oldestSeq < this.#nextSeq && this.#slot(this.#oldestSeq).seq === 0) this.#oldestSeq += 1;
  }

  #slot(seq: number): WireRequest {
    const request = this.#slots[seq % this.#slots.length];
    assert(request !== undefined, 'in-flight table: no such slot');
    return request;
  }
}
