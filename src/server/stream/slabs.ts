import { assert } from '../../protocol/errors.js';
import { FREE_SLABS_MAX, SLAB_BYTES, SLAB_SHARE_BYTES_MAX } from './limits.js';

/** Memory that is handed out from its start to its end and used again when the last one who had a part is done. */
export class Slab {
  /** Where the next part begins. */
  usedBytes = 0;
  /** Parts that are not given back yet. */
  users = 0;

  constructor(readonly bytes: Buffer) {}
}

/** Unused slabs of a server. */
export class SlabPool {
  readonly #free: Slab[] = [];

  take(): Slab {
    return this.#free.pop() ?? new Slab(Buffer.allocUnsafeSlow(SLAB_BYTES));
  }

  give(slab: Slab): void {
    if (this.#free.length < FREE_SLABS_MAX) this.#free.push(slab);
  }
}

/**
 * The memory of one connection. Parts that are taken one after the other lie one behind the other, so what is answered
 * together can be sent as one piece. What a part holds is undefined until it is filled.
 *
 * Invariant: a slab is in the pool, or is `#current`, or has users.
 */
export class SlabMemory {
  #current: Slab | null = null;

  constructor(private readonly pool: SlabPool) {}

  /** The part is the last `lengthBytes` used bytes of what is returned. It goes back with give(). */
  take(lengthBytes: number): Slab {
    if (lengthBytes > SLAB_SHARE_BYTES_MAX) {
      const own = new Slab(Buffer.allocUnsafeSlow(lengthBytes));
      own.usedBytes = lengthBytes;
      own.users = 1;
      return own;
    }
    let slab = this.#current;
    if (slab === null || slab.usedBytes + lengthBytes > SLAB_BYTES) {
      // The old one has users, or it would have been empty; the last of them brings it back.
      slab = this.pool.take();
      this.#current = slab;
    }
    slab.usedBytes += lengthBytes;
    slab.users += 1;
    return slab;
  }

  /** Gives back `count` parts of a slab. */
  give(slab: Slab, count: number): void {
    assert(slab.users >= count, 'slab: more parts given back than taken');
    slab.users -= count;
    if (slab.users > 0) return;
    slab.usedBytes = 0;
    if (slab !== this.#current && slab.bytes.length === SLAB_BYTES) this.pool.give(slab);
  }

  /** For a connection that has ended. Parts may still be given back. */
  close(): void {
    const slab = this.#current;
    this.#current = null;
    if (slab?.users === 0) this.pool.give(slab);
  }
}
