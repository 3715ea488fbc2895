import { AREA_BLOCK_BYTES, AREA_KIND, blockState, sequenceOf } from '../../protocol/area-block.js';
import { AREA_LOG_BLOCKS, logBlockAt } from '../../protocol/area-layout.js';
import { decodeLog, encodeLog } from '../../protocol/area-log.js';
import { ProtocolError, assert } from '../../protocol/errors.js';
import type { PlacedBlock } from './block-runs.js';

interface Transaction {
  readonly sequence: number;
  readonly extents: readonly number[];
}

/**
 * The log blocks of an area: which transaction is the log, and where the next one goes (docs/on-disk-format.md,
 * "Activity log" and "Blocks", rules 1 and 2).
 *
 * Invariant: `#safe` is the newest transaction that is known to be on stable storage; its block is not written to.
 */
export class LogRing {
  #sequence: number;
  #safe: Transaction | null;
  /** Written and answered since the last flush. */
  #written: Transaction | null = null;
  /** The log is in one block only, and no other transaction has followed. */
  #isSingle = false;

  private constructor(
    private readonly areaId: Buffer,
    found: Transaction | null,
  ) {
    this.#sequence = found?.sequence ?? 0;
    this.#safe = found;
  }

  /** Of a new area, whose log blocks are zeros. */
  static fresh(areaId: Buffer): LogRing {
    return new LogRing(areaId, null);
  }

  /** The blocks as they were read, null for one that can't be. Before place() rewrite() is to be on stable storage. */
  static read(blocks: readonly (Buffer | null)[], areaId: Buffer, extentCount: number): LogRing {
    assert(blocks.length === AREA_LOG_BLOCKS, 'activity log: all blocks are read at once');
    let newest: Transaction | null = null;
    for (const [index, block] of blocks.entries()) {
      const found = block === null ? null : readTransaction(block, areaId, extentCount);
      if (found === null || found.sequence % AREA_LOG_BLOCKS !== index) continue;
      if (newest === null || found.sequence > newest.sequence) newest = found;
    }
    const ring = new LogRing(areaId, newest);
    // Nobody knows whether it was written twice.
    ring.#isSingle = newest !== null;
    return ring;
  }

  /** The log as it was found or written last; null if no block tells. */
  get extents(): readonly number[] | null {
    return (this.#written ?? this.#safe)?.extents ?? null;
  }

  /** The log as it was found, to be written over itself; null if there is none. See BlockPair, isInDoubt. */
  rewrite(): PlacedBlock | null {
    return this.#safe === null ? null : this.#blockOf(this.#safe);
  }

  /** Where the next transaction goes. A sequence number that would hit the safe block is left out. */
  place(extents: readonly number[]): PlacedBlock {
    this.#isSingle = false;
    this.#sequence += 1;
    const ahead = this.#safe === null ? this.#sequence : this.#sequence - this.#safe.sequence;
    if (ahead % AREA_LOG_BLOCKS === 0) this.#sequence += 1;
    return this.#blockOf({ sequence: this.#sequence, extents });
  }

  /** The transaction that was placed last was written, not flushed. `extents` are kept and must not change. */
  placed(extents: readonly number[]): void {
    this.#written = { sequence: this.#sequence, extents };
  }

  flushed(): void {
    if (this.#written === null) return;
    const isEcho = this.#written.extents === this.#safe?.extents;
    this.#safe = this.#written;
    this.#written = null;
    this.#isSingle = !isEcho;
  }

  /** What is to be written again before the next flush; null if there is nothing to do. Asked once. */
  takeEcho(): readonly number[] | null {
    const isDue = this.#isSingle && this.#written === null;
    this.#isSingle = false;
    return isDue ? (this.#safe?.extents ?? null) : null;
  }

  #blockOf(transaction: Transaction): PlacedBlock {
    return {
      at: logBlockAt(transaction.sequence % AREA_LOG_BLOCKS),
      block: encodeLog({ areaId: this.areaId, ...transaction }),
    };
  }
}

function readTransaction(block: Buffer, areaId: Buffer, extentCount: number): Transaction | null {
  assert(block.length === AREA_BLOCK_BYTES, 'activity log: wrong size of a block');
  if (blockState(block, AREA_KIND.log, areaId) !== 'valid') return null;
  try {
    return { sequence: sequenceOf(block), extents: decodeLog(block, extentCount) };
  } catch (cause) {
    if (cause instanceof ProtocolError) return null;
    throw cause;
  }
}
