import { Socket, type ConnectOpts, type SocketConstructorOpts } from 'node:net';
import { assert } from '../../protocol/errors.js';
import { HANDSHAKE_READ_BYTES, READ_BYTES_MAX, READ_BYTES_MIN } from './limits.js';
import type { Slab, SlabPool } from '../stream/slabs.js';

/** What came last: `bytes` up to `endAt` from `startAt`. They are a part of `slab`, or the taker's to keep if it is null. */
export type TakeRead = (bytes: Buffer, startAt: number, endAt: number, slab: Slab | null) => void;

/** Node's own object under a socket, as far as it matters here. */
interface NodeHandle {
  useUserBuffer(buffer: Uint8Array): void;
}

/**
 * Receives what comes on an accepted connection into slabs. Node's streams make a new buffer for each read of 64 KiB, and
 * clearing those away costs as much as everything that a mirror does with what is in them.
 *
 * Until begin() all that comes is in the socket's stream, as ever. A slab is filled from front to back, and anew from the
 * front when nobody uses a part of it.
 *
 * Invariant: as long as it may be received into, a slab has one user that is this.
 */
export class SlabReads {
  readonly socket: Socket;
  readonly #early = Buffer.allocUnsafeSlow(HANDSHAKE_READ_BYTES);
  #take: TakeRead | null = null;
  #slab: Slab | null = null;

  private constructor(
    handle: NodeHandle,
    private readonly pool: SlabPool,
  ) {
    const callback = (length: number, into: Uint8Array): boolean => this.#received(length, into);
    const options: ConnectOpts = { onread: { buffer: () => this.#next(), callback } };
    // Neither is in Node's types for a socket that is not to connect.
    this.socket = new Socket({ ...options, handle } as SocketConstructorOpts);
  }

  /**
   * Makes a socket of its own for a connection that was just accepted, and `accepted` is of no use from then on. Node
   * offers this only to those who connect, so we take the connection over; null if this Node does not let us.
   */
  static takeOver(accepted: Socket, pool: SlabPool): SlabReads | null {
    const owner: { _handle?: unknown } = accepted as object;
    const handle = owner._handle;
    if (!isNodeHandle(handle)) return null;
    owner._handle = null;
    const reads = new SlabReads(handle, pool);
    accepted.destroy();
    return reads;
  }

  /** From now on `take` gets what comes; it is first given what the stream has already. */
  begin(take: TakeRead): void {
    assert(this.#take === null, 'slab reads: begun twice');
    const early = this.socket.read() as Buffer | null;
    this.#take = take;
    if (early !== null) take(early, 0, early.length, null);
  }

  /** To be called when the socket is closed. */
  close(): void {
    const slab = this.#slab;
    this.#slab = null;
    if (slab !== null) this.#release(slab);
  }

  /** False if no more is to be read until the stream asks for it. */
  #received(length: number, into: Uint8Array): boolean {
    const slab = this.#slab;
    if (slab === null || into.buffer !== slab.bytes.buffer) {
      const copy = Buffer.from(this.#early.subarray(0, length));
      if (this.#take === null) return this.socket.push(copy);
      this.#take(copy, 0, length, null);
      return true;
    }
    const startAt = slab.usedBytes;
    slab.usedBytes += length;
    this.#take?.(slab.bytes, startAt, slab.usedBytes, slab);
    return true;
  }

  /** Where the next read goes. */
  #next(): Buffer {
    if (this.#take === null || this.socket.destroyed) return this.#early;
    let slab = this.#slab;
    if (slab?.users === 1) slab.usedBytes = 0;
    if (slab === null || slab.bytes.length - slab.usedBytes < READ_BYTES_MIN) {
      if (slab !== null) this.#release(slab);
      slab = this.pool.take();
      slab.users = 1;
      this.#slab = slab;
    }
    return slab.bytes.subarray(slab.usedBytes, slab.usedBytes + READ_BYTES_MAX);
  }

  #release(slab: Slab): void {
    slab.users -= 1;
    if (slab.users > 0) return;
    slab.usedBytes = 0;
    this.pool.give(slab);
  }
}

const isNodeHandle = (handle: unknown): handle is NodeHandle =>
  typeof handle === 'object' &&
  handle !== null &&
  typeof (handle as Partial<NodeHandle>).useUserBuffer === 'function';
