import { AREA_BLOCK_BYTES, AREA_KIND, blockState, sequenceOf } from '../../protocol/area-block.js';
import { decodeBitmap, encodeBitmap, type BitmapPlace } from '../../protocol/area-bitmap.js';
import { bitmapBlockCount, bitmapPairAt, regionsOfBlock } from '../../protocol/area-layout.js';
import { ProtocolError, assert } from '../../protocol/errors.js';
import { SLOT_COUNT } from '../../protocol/superblock.js';
import type { AreaIo, PlacedBlock } from './area-io.js';
import { BlockPair, newestCopy, type FoundCopy } from './block-pair.js';
import { AREA_TRANSFER_BYTES } from '../limits.js';

/** The bits of one block, BITMAP_BITS_BYTES. */
export interface BitmapPart {
  readonly index: number;
  readonly bits: Buffer;
}

/** `bits` null: nobody knows them, and all count as set. */
export interface FoundPart {
  readonly index: number;
  readonly bits: Buffer | null;
}

interface FoundPair {
  readonly copies: readonly [FoundCopy, FoundCopy];
  /** Null if no block tells: none was written, or both are damaged. */
  readonly bits: Buffer | null;
}

type PairBlocks = readonly [Buffer | null, Buffer | null];

/**
 * The bitmap blocks of an area, and which copy of each goes next. Calls must not overlap.
 *
 * Invariant: every pair of a known slot that is not in `#pairs` is two empty blocks.
 */
export class AreaBitmaps {
  /** By slot × N + n. */
  readonly #pairs = new Map<number, BlockPair>();
  readonly #knownSlots = new Set<number>();
  /** Pairs written since the last flush, or written again as they were found. */
  readonly #written = new Set<BlockPair>();
  /** Pairs whose newest version is to be written a second time. */
  readonly #single = new Set<BlockPair>();
  /** Pairs that were found uneven, to be made even from what is in them. */
  readonly #uneven = new Set<BlockPair>();

  /** `isNew`: no block was ever written. */
  constructor(
    private readonly io: AreaIo,
    private readonly mediaSizeBytes: number,
    private readonly areaId: Buffer,
    isNew: boolean,
  ) {
    if (isNew) for (let slot = 0; slot < SLOT_COUNT; slot++) this.#knownSlots.add(slot);
  }

  /** The parts that were ever written, in order. */
  async read(slot: number): Promise<FoundPart[]> {
    const parts: FoundPart[] = [];
    const pairCount = bitmapBlockCount(this.mediaSizeBytes);
    const pairsAtOnce = AREA_TRANSFER_BYTES / (2 * AREA_BLOCK_BYTES);
    for (let from = 0; from < pairCount; from += pairsAtOnce) {
      const count = Math.min(pairsAtOnce, pairCount - from);
      const blocks = await this.io.readBlocks(bitmapPairAt(this.mediaSizeBytes, slot, from), 2 * count);
      for (let offset = 0; offset < count; offset++) {
        const found = this.#take(slot, from + offset, pairIn(blocks, offset));
        const isUntold = found.bits === null && newestCopy(found.copies) !== null;
        if (!isUntold) parts.push({ index: from + offset, bits: found.bits });
      }
    }
    this.#knownSlots.add(slot);
    return parts;
  }

  /**
   * Ends the doubt about pairs that were found, not written by us: they are written as they are. True if there were any;
   * then a flush must succeed before they are written with other bits.
   */
  async rewrite(slot: number, indices: readonly number[]): Promise<boolean> {
    const pairs: BlockPair[] = [];
    for (const index of indices) pairs.push(await this.#pairOf(slot, index));
    return await this.#rewrite(pairs.filter((pair) => pair.isInDoubt));
  }

  /** Before the next flush: begins to make even what was found uneven. */
  async rewriteUneven(): Promise<void> {
    const pairs = [...this.#uneven].filter((pair) => pair.isInDoubt);
    this.#uneven.clear();
    await this.#rewrite(pairs);
  }

  async #rewrite(pairs: readonly BlockPair[]): Promise<boolean> {
    for (const pair of pairs) {
      const [block] = await this.io.readBlocks(pair.newestAt, 1);
      assert(block !== undefined && block !== null, 'bitmaps: a read that succeeded without a block');
      await this.io.write([{ at: pair.newestAt, block }]);
      pair.rewritten(block);
      this.#written.add(pair);
    }
    return pairs.length > 0;
  }

  /** Pairs in doubt have been rewritten and flushed. The bits are copied before it returns. */
  async write(slot: number, parts: readonly BitmapPart[]): Promise<void> {
    const writes: { readonly pair: BlockPair; readonly placed: PlacedBlock }[] = [];
    for (const { index, bits } of parts) {
      const pair = await this.#pairOf(slot, index);
      const content = { sequence: pair.nextSequence(), areaId: this.areaId, bits };
      const placed = pair.place(encodeBitmap(this.#placeOf(slot, index), content));
      this.#single.delete(pair);
      this.#written.delete(pair);
      writes.push({ pair, placed });
    }
    await this.io.write(writes.map(({ placed }) => placed));
    for (const { pair, placed } of writes) {
      pair.placed(placed.block);
      this.#written.add(pair);
    }
  }

  /** What is to be written before the next flush. Given once. */
  takeEchoes(): PlacedBlock[] {
    const echoes = [...this.#single].map((pair) => pair.takeEcho()).filter((echo) => echo !== null);
    this.#single.clear();
    return echoes;
  }

  flushed(): void {
    for (const pair of this.#written) {
      pair.flushed();
      if (pair.hasEcho) this.#single.add(pair);
    }
    this.#written.clear();
  }

  flushFailed(): void {
    for (const pair of this.#written) pair.flushFailed();
    this.#written.clear();
  }

  async #pairOf(slot: number, index: number): Promise<BlockPair> {
    const known = this.#pairs.get(this.#keyOf(slot, index));
    if (known !== undefined) return known;
    if (!this.#knownSlots.has(slot)) {
      const blocks = await this.io.readBlocks(bitmapPairAt(this.mediaSizeBytes, slot, index), 2);
      this.#take(slot, index, pairIn(blocks, 0));
    }
    return this.#pairs.get(this.#keyOf(slot, index)) ?? this.#remember(slot, index);
  }

  /** Notes what a pair was found to be, unless we know better. */
  #take(slot: number, index: number, blocks: PairBlocks): FoundPair {
    const found = findPair(this.#placeOf(slot, index), blocks, this.areaId);
    const { copies } = found;
    const isUntouched = copies.every(({ state }) => state === 'empty');
    if (!isUntouched && !this.#pairs.has(this.#keyOf(slot, index))) {
      const pair = this.#remember(slot, index, copies);
      if (pair.isInDoubt && pair.isUneven) this.#uneven.add(pair);
    }
    return found;
  }

  #remember(slot: number, index: number, found?: readonly [FoundCopy, FoundCopy]): BlockPair {
    const pair = new BlockPair(bitmapPairAt(this.mediaSizeBytes, slot, index), found);
    this.#pairs.set(this.#keyOf(slot, index), pair);
    return pair;
  }

  #keyOf(slot: number, index: number): number {
    return slot * bitmapBlockCount(this.mediaSizeBytes) + index;
  }

  #placeOf(slot: number, index: number): BitmapPlace {
    return { slot, index, regionCount: regionsOfBlock(this.mediaSizeBytes, index) };
  }
}

const pairIn = (blocks: readonly (Buffer | null)[], pairIndex: number): PairBlocks => [
  blocks[2 * pairIndex] ?? null,
  blocks[2 * pairIndex + 1] ?? null,
];

/** Source: docs/on-disk-format.md, "Bitmaps". */
function findPair(place: BitmapPlace, blocks: PairBlocks, areaId: Buffer): FoundPair {
  const [a, b] = [readCopy(place, blocks[0], areaId), readCopy(place, blocks[1], areaId)];
  const copies = [a, b] as const;
  const newest = newestCopy(copies);
  return { copies, bits: newest === null ? null : copies[newest].bits };
}

function readCopy(
  place: BitmapPlace,
  block: Buffer | null,
  areaId: Buffer,
): FoundCopy & { readonly bits: Buffer | null } {
  const state = block === null ? 'damaged' : blockState(block, AREA_KIND.bitmap, areaId);
  if (block === null || state !== 'valid') return { state, sequence: 0, bits: null };
  try {
    return { state, sequence: sequenceOf(block), bits: decodeBitmap(place, block) };
  } catch (cause) {
    if (cause instanceof ProtocolError) return { state: 'damaged', sequence: 0, bits: null };
    throw cause;
  }
}
