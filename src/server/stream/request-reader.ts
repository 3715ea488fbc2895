import type { Slab, SlabMemory } from './slabs.js';

/** Where the payload of a WRITE lies. */
export interface Payload {
  /** It stays as it is until the request is done. */
  readonly bytes: Buffer;
  readonly at: number;
  /** Whose part it is, to be given back; null if it is in memory of its own. */
  readonly slab: Slab | null;
}

/** How a protocol's requests look: a header of fixed size, then what some of them carry. */
export interface RequestFormat<Header> {
  readonly headerBytes: number;
  /** A header to be filled again and again. */
  create(): Header;
  /** May throw ProtocolError: nothing that follows can be understood. */
  decode(bytes: Buffer, at: number, into: Header): void;
  /** What follows the header, also when the request is refused. */
  payloadBytes(header: Header): number;
  /** Whether the client says goodbye with it, and gets no answer. */
  isGoodbye(header: Header): boolean;
}

/** What becomes of requests. Headers are reused: what is needed of them must be taken at once. */
export interface RequestSink<Header, Errno> {
  /** No further request can be taken now. */
  readonly isFull: boolean;
  /** Why a request can't be served. Asked when its header has come. */
  refusalOf(header: Header): Errno | null;
  /** A request that has come whole. */
  take(header: Header, payload: Payload | null): void;
  /** One that can't be served, now that it has come whole. */
  refuse(header: Header, errno: Errno): void;
  /** The client says goodbye. Nothing is read after that. */
  disconnect(): void;
}

/**
 * Cuts what a socket delivers into requests. A payload that came in one part stays where it lies; one that came in
 * several is put together once. A request is passed on when its last byte has come, so that of one that is cut short
 * nothing reaches the device.
 */
export class RequestReader<Header, Errno> {
  /** The last delivery: what is left of it lies from #at to #endAt. */
  #chunk: Buffer = Buffer.alloc(0);
  #at = 0;
  #endAt = 0;
  /** What the delivery is a part of, kept until it is taken whole. */
  #chunkSlab: Slab | null = null;
  /** The first bytes of a header whose rest has not come yet. */
  readonly #headerBytes: Buffer;
  #headerHave = 0;
  /** Reused; while a payload is awaited it is that of the request. */
  readonly #header: Header;
  #slab: Slab | null = null;
  #slabAt = 0;
  #missingBytes = 0;
  #refusal: Errno | null = null;
  #hasEnded = false;

  constructor(
    private readonly format: RequestFormat<Header>,
    private readonly sink: RequestSink<Header, Errno>,
    private readonly memory: SlabMemory,
  ) {
    this.#headerBytes = Buffer.alloc(format.headerBytes);
    this.#header = format.create();
  }

  /** Whether all that came was whole requests. */
  get isBetweenRequests(): boolean {
    return this.#headerHave === 0 && this.#missingBytes === 0;
  }

  /**
   * Takes what the socket delivered, which is the reader's from now on; if it lies in a slab, as long as the reader or one
   * of the requests in it is a user of that. Returns false if a part of it has to wait for resume(), since the sink is
   * full. Throws what the format throws; nothing may be pushed after that.
   */
  push(chunk: Buffer, startAt = 0, endAt = chunk.length, slab: Slab | null = null): boolean {
    this.#chunk = chunk;
    this.#at = startAt;
    this.#endAt = endAt;
    this.#chunkSlab = slab;
    if (slab !== null) slab.users += 1;
    return this.resume();
  }

  /** Goes on after the sink was full; as push(). */
  resume(): boolean {
    const isTaken = this.#cut();
    if (isTaken) this.#leaveChunk();
    return isTaken;
  }

  #leaveChunk(): void {
    if (this.#chunkSlab !== null) this.memory.give(this.#chunkSlab, 1);
    this.#chunkSlab = null;
  }

  #cut(): boolean {
    while (!this.#hasEnded) {
      if (this.#missingBytes > 0 && !this.#takePayload()) return true;
      if (this.#at === this.#endAt) return true;
      if (this.sink.isFull) return false;
      if (!this.#takeHeader()) return true;
      this.#begin();
    }
    return true;
  }

  /** Gives back the memory of a payload that will not come any more. */
  close(): void {
    this.#hasEnded = true;
    if (this.#slab !== null) this.memory.give(this.#slab, 1);
    this.#slab = null;
    this.#leaveChunk();
  }

  /** False if it has not come whole. */
  #takeHeader(): boolean {
    const availableBytes = this.#endAt - this.#at;
    const wantedBytes = this.format.headerBytes - this.#headerHave;
    if (this.#headerHave === 0 && availableBytes >= wantedBytes) {
      this.format.decode(this.#chunk, this.#at, this.#header);
      this.#at += wantedBytes;
      return true;
    }
    const stepBytes = Math.min(availableBytes, wantedBytes);
    this.#chunk.copy(this.#headerBytes, this.#headerHave, this.#at, this.#at + stepBytes);
    this.#at += stepBytes;
    this.#headerHave += stepBytes;
    if (this.#headerHave < this.format.headerBytes) return false;
    this.#headerHave = 0;
    this.format.decode(this.#headerBytes, 0, this.#header);
    return true;
  }

  #begin(): void {
    const header = this.#header;
    if (this.format.isGoodbye(header)) {
      this.#hasEnded = true;
      this.sink.disconnect();
      return;
    }
    const refusal = this.sink.refusalOf(header);
    const payloadBytes = this.format.payloadBytes(header);
    if (payloadBytes === 0) {
      this.#pass(refusal, null);
    } else if (refusal !== null) {
      // Its payload is on the way all the same. It takes no memory, however long it is.
      this.#refusal = refusal;
      this.#missingBytes = payloadBytes;
    } else if (payloadBytes <= this.#endAt - this.#at) {
      const slab = this.#chunkSlab;
      if (slab !== null) slab.users += 1;
      const payload = { bytes: this.#chunk, at: this.#at, slab };
      this.#at += payloadBytes;
      this.sink.take(header, payload);
    } else {
      this.#slab = this.memory.take(payloadBytes);
      this.#slabAt = this.#slab.usedBytes - payloadBytes;
      this.#missingBytes = payloadBytes;
    }
  }

  /** False if more of it has to come. */
  #takePayload(): boolean {
    const stepBytes = Math.min(this.#missingBytes, this.#endAt - this.#at);
    const slab = this.#slab;
    if (slab !== null) {
      const doneBytes = this.format.payloadBytes(this.#header) - this.#missingBytes;
      this.#chunk.copy(slab.bytes, this.#slabAt + doneBytes, this.#at, this.#at + stepBytes);
    }
    this.#at += stepBytes;
    this.#missingBytes -= stepBytes;
    if (this.#missingBytes > 0) return false;
    this.#slab = null;
    const refusal = this.#refusal;
    this.#refusal = null;
    this.#pass(refusal, slab === null ? null : { bytes: slab.bytes, at: this.#slabAt, slab });
    return true;
  }

  #pass(refusal: Errno | null, payload: Payload | null): void {
    if (refusal === null) this.sink.take(this.#header, payload);
    else this.sink.refuse(this.#header, refusal);
  }
}
