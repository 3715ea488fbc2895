import { DeviceError } from '../../device/block-device.js';
import { AREA_BLOCK_BYTES, AREA_KIND, blockState, sequenceOf } from '../../protocol/area-block.js';
import { decodeBitmap, encodeBitmap, type BitmapPlace } from '../../protocol/area-bitmap.js';
import { bitmapBlockCount, bitmapPairAt, regionsOfBlock } from '../../protocol/area-layout.js';
import { ProtocolError, assert } from '../../protocol/errors.js';
import { SLOT_COUNT } from '../../protocol/superblock.js';
import type { AreaIo } from './area-io.js';
import type { PlacedBlock } from './block-runs.js';
import { BlockPair, newestCopy, type FoundCopy } from './block-pair.js';
import { AREA_IN_FLIGHT_BYTES, AREA_TRANSFER_BYTES } from '../limits.js';

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

const PAIR_BYTES = 2 * AREA_BLOCK_BYTES;
const PAIRS_A_TRANSFER = AREA_TRANSFER_BYTES / PAIR_BYTES;
const PAIRS_AT_ONCE = AREA_IN_FLIGHT_BYTES / PAIR_BYTES;

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
    const ask = (from: number): Promise<(Buffer | null)[]> =>
      this.io.readBlocks(
        bitmapPairAt(this.mediaSizeBytes, slot, from),
        2 * Math.min(PAIRS_A_TRANSFER, pairCount - from),
      );
    for (let from = 0; from < pairCount; from += PAIRS_AT_ONCE) {
      const second = from + PAIRS_A_TRANSFER;
      const blocks = await both(ask(from), second < pairCount ? ask(second) : Promise.resolve([]));
      for (let offset = 0; 2 * offset < blocks.length; offset++) {
        const found = this.#take(slot, from + offset, pairIn(blocks, offset));
        const isUntold = found.bits === null && newestCopy(found.copies) !== null;
        if (!isUntold) parts.push({ index: from + offset, bits: found.bits });
      }
    }
    this.#knownSlots.add(slot);
    return parts;
  }

  /**
   * Ends the doubt about pairs that were found, not written by us: they are written as they are. Then a flush must succeed
   * before they are written with other bits. Null if there were none; else those parts which are not what was found.
   */
  async rewrite(slot: number, parts: readonly BitmapPart[]): Promise<readonly BitmapPart[] | null> {
    // With one request each, many that nobody has looked at take long.
    if (parts.length >= PAIRS_A_TRANSFER && !this.#knownSlots.has(slot)) await this.read(slot);
    const wanted = new Map<BlockPair, BitmapPart>();
    for (const part of parts) wanted.set(await this.#pairOf(slot, part.index), part);
    const changed = new Set(parts);
    const inDoubt = [...wanted.keys()].filter((pair) => pair.isInDoubt);
    await this.#rewrite(inDoubt, (pair, block) => {
      const part = wanted.get(pair);
      if (part === undefined) return;
      const { bits } = readCopy(this.#placeOf(slot, part.index), block, this.areaId);
      if (bits?.equals(part.bits) === true) changed.delete(part);
    });
    return inDoubt.length === 0 ? null : [...changed];
  }

  /** Before the next flush: begins to make even what was found uneven. */
  async rewriteUneven(): Promise<void> {
    const pairs = [...this.#uneven].filter((pair) => pair.isInDoubt);
    this.#uneven.clear();
    await this.#rewrite(pairs);
  }

  /** Both copies of each: the one that is on stable storage does not change by it. */
  async #rewrite(
    pairs: readonly BlockPair[],
    hear: (pair: BlockPair, newest: Buffer) => void = () => undefined,
  ): Promise<void> {
    for (const { at, members } of neighbours(pairs)) {
      const blocks = await this.io.readBlocks(at, 2 * members.length);
      const newest = new Map<BlockPair, Buffer>();
      for (const pair of members)
        newest.set(pair, blocks[(pair.newestAt - at) / AREA_BLOCK_BYTES] ?? (await this.#reread(pair)));
      // A read may have gone astray: only what is sound, and belongs there, is written again.
      const sound = blocks.flatMap((block, index) => {
        const blockAt = at + index * AREA_BLOCK_BYTES;
        return block !== null && this.#belongsAt(blockAt, block) ? [{ at: blockAt, block }] : [];
      });
      for (const [pair, block] of newest) {
        if (this.#belongsAt(pair.newestAt, block)) continue;
        const message = `${this.io.name}: a bitmap block that was sound reads as something else now`;
        throw new DeviceError('DEVICE_IO', 'EIO', message);
      }
      await this.io.write(sound);
      for (const [pair, block] of newest) {
        hear(pair, block);
        pair.rewritten(block);
        this.#written.add(pair);
      }
    }
  }

  #belongsAt(at: number, block: Buffer): boolean {
    const key = Math.floor((at - bitmapPairAt(this.mediaSizeBytes, 0, 0)) / PAIR_BYTES);
    const pairCount = bitmapBlockCount(this.mediaSizeBytes);
    const place = this.#placeOf(Math.floor(key / pairCount), key % pairCount);
    return readCopy(place, block, this.areaId).state === 'valid';
  }

  /** Of a block that could be read when it was found: rejects with why it can't be now. */
  async #reread(pair: BlockPair): Promise<Buffer> {
    const [block] = await this.io.readBlocks(pair.newestAt, 1);
    assert(block !== undefined && block !== null, 'bitmaps: a read that succeeded without a block');
    return block;
  }

  /** Pairs in doubt have been rewritten and flushed. The bits are lent until it resolves. */
  async write(slot: number, parts: readonly BitmapPart[]): Promise<void> {
    // A part after the other, or all blocks of a large medium would be in memory together.
    for (let from = 0; from < parts.length; from += PAIRS_AT_ONCE)
      await this.#writeSome(slot, parts.slice(from, from + PAIRS_AT_ONCE));
  }

  async #writeSome(slot: number, parts: readonly BitmapPart[]): Promise<void> {
    const placed: PlacedBlock[] = [];
    const done: (() => void)[] = [];
    const memory = Buffer.alloc(parts.length * AREA_BLOCK_BYTES);
    for (const [place, { index, bits }] of parts.entries()) {
      const pair = await this.#pairOf(slot, index);
      const content = { sequence: pair.nextSequence(), areaId: this.areaId, bits };
      const zeroed = memory.subarray(place * AREA_BLOCK_BYTES, (place + 1) * AREA_BLOCK_BYTES);
      const block = encodeBitmap(this.#placeOf(slot, index), content, zeroed);
      this.#single.delete(pair);
      this.#written.delete(pair);
      const { isFresh } = pair;
      placed.push(...(isFresh ? pair.placeBoth(block) : [pair.place(block)]));
      done.push(() => {
        if (isFresh) pair.placedBoth();
        else pair.placed(block);
        this.#written.add(pair);
      });
    }
    await this.io.write(placed);
    for (const note of done) note();
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

/** Both lists as one. Does not reject before both are done. */
async function both<T>(one: Promise<readonly T[]>, other: Promise<readonly T[]>): Promise<T[]> {
  const ends = await Promise.allSettled([one, other]);
  return ends.flatMap((end) => {
    if (end.status === 'rejected') throw end.reason;
    return end.value;
  });
}

/** Pairs that follow each other, read with one request. `at`: where the first one begins. */
function neighbours(pairs: readonly BlockPair[]): { readonly at: number; readonly members: BlockPair[] }[] {
  const runs: { readonly at: number; readonly members: BlockPair[] }[] = [];
  for (const pair of [...pairs].sort((one, other) => one.at - other.at)) {
    const last = runs.at(-1);
    const isNext = last !== undefined && pair.at === last.at + last.members.length * PAIR_BYTES;
    if (isNext && last.members.length < PAIRS_A_TRANSFER) last.members.push(pair);
    else runs.push({ at: pair.at, members: [pair] });
  }
  return runs;
}

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
