import { DeviceError, type BlockDevice } from '../../device/block-device.js';
import { AREA_BLOCK_BYTES } from '../../protocol/area-block.js';
import {
  AREA_HEAD_BYTES,
  AREA_LOG_BLOCKS,
  areaSizeBytes,
  bitmapBlockCount,
  extentCount,
  logBlockAt,
  otherCopy,
  superblockAt,
} from '../../protocol/area-layout.js';
import { assert } from '../../protocol/errors.js';
import { encodeSuperblock, type Superblock } from '../../protocol/superblock.js';
import { AreaBitmaps } from './area-bitmaps.js';
import { AreaIo } from './area-io.js';
import type { PlacedBlock } from './block-runs.js';
import { findSuperblock, newestSuperblock } from './area-superblock.js';
import { BlockPair } from './block-pair.js';
import { LogRing } from './log-ring.js';
import { UNANSWERED_SUPERBLOCKS_MAX } from '../limits.js';
import type { SuperblockChange } from './meta-store.js';
import { BITMAP_PAGE_BYTES, RegionBitmap } from './region-bitmap.js';
import { Turns } from '../turns.js';

export interface WriteOptions {
  /** Whether it is on stable storage when the promise resolves. True if left out. */
  readonly flush?: boolean;
}

export type OpenedArea =
  /** Nothing was ever written here. */
  | { readonly state: 'none' }
  /** Something was, and it can't be believed; `why` is a clause for people. */
  | { readonly state: 'damaged'; readonly why: string }
  /** `isRepaired`: one superblock copy was damaged or old, and was written anew from the other. */
  | { readonly state: 'ok'; readonly store: AreaStore; readonly isRepaired: boolean };

/** What a new area is made of: sequence number, L and N are not the caller's. */
export type NewSuperblock = Omit<Superblock, 'sequence' | 'logBlockCount' | 'bitmapBlockCount'>;

interface OpenState {
  readonly superblock: Superblock;
  readonly superblockPair: BlockPair;
  readonly log: LogRing;
  /** The block that the superblock was read from; null in a new area, where nothing else was ever written either. */
  readonly found: Buffer | null;
}

/**
 * The private area of a component (docs/on-disk-format.md). Operations run one after another, in order of call. All
 * reject with DeviceError; what failed to be written may or may not be there, but what was on stable storage still is: the
 * caller may write it again, or give the component up. After a flush that failed the next good one covers everything that
 * was written before it (see KeptWrites).
 *
 * What was written with `flush: false` counts as durable only after flush() of this object or another operation that
 * flushes: a good flush that goes past it to the device is not seen. On a device that can't flush everything ends with the
 * answers to its writes.
 */
export class AreaStore {
  #superblock: Superblock;
  readonly #superblockPair: BlockPair;
  readonly #log: LogRing;
  readonly #bitmaps: AreaBitmaps;
  /** The superblock as it was found, while it is not known whether that is on stable storage; nor is the log's. */
  #found: Buffer | null;
  /** Superblocks that failed to be written since one was: each of them may be there. */
  #unanswered: readonly Buffer[] = [];
  readonly #turns = new Turns();

  private constructor(
    private readonly io: AreaIo,
    state: OpenState,
  ) {
    this.#superblock = state.superblock;
    this.#superblockPair = state.superblockPair;
    this.#log = state.log;
    this.#found = state.found;
    const { mediaSizeBytes, areaId } = state.superblock;
    this.#bitmaps = new AreaBitmaps(io, mediaSizeBytes, areaId, state.found === null);
  }

  /**
   * Makes an area at `atBytes` of the device, over whatever is there, and resolves when it is on stable storage. Until
   * the end open() finds the area that was there before, none, or a damaged one. There is room for it.
   */
  static async create(device: BlockDevice, atBytes: number, superblock: NewSuperblock): Promise<AreaStore> {
    const { mediaSizeBytes, areaId } = superblock;
    const io = new AreaIo(device, atBytes);
    const sizeBytes = areaSizeBytes(mediaSizeBytes);
    assert(io.roomBytes >= sizeBytes, `${io.name}: no room for an area of ${sizeBytes} bytes`);
    await eraseSuperblocks(io);
    await io.zero(logBlockAt(0), sizeBytes - logBlockAt(0));
    const first: Superblock = {
      ...superblock,
      sequence: 0,
      logBlockCount: AREA_LOG_BLOCKS,
      bitmapBlockCount: bitmapBlockCount(mediaSizeBytes),
    };
    const superblockPair = new BlockPair(superblockAt(0));
    const store = new AreaStore(io, {
      superblock: first,
      superblockPair,
      log: LogRing.fresh(areaId),
      found: null,
    });
    await store.writeLog([]);
    await store.writeSuperblock(first);
    return store;
  }

  /**
   * Reads what is there; a superblock copy that is damaged or old is written anew if the device can be written. Rejects
   * with DeviceError if the device can't be read at all.
   */
  static async open(device: BlockDevice, atBytes: number): Promise<OpenedArea> {
    const io = new AreaIo(device, atBytes);
    if (io.roomBytes < AREA_HEAD_BYTES) return { state: 'none' };
    const blocks = await io.readBlocks(0, AREA_HEAD_BYTES / AREA_BLOCK_BYTES);
    const found = findSuperblock([blocks[0] ?? null, blocks[1] ?? null], {
      startBytes: atBytes,
      roomBytes: io.roomBytes,
    });
    if (found.state !== 'ok') return found;
    const { superblock, block, copies } = found;
    const log = LogRing.read(blocks.slice(2), superblock.areaId, extentCount(superblock.mediaSizeBytes));
    const superblockPair = new BlockPair(superblockAt(0), copies);
    const store = new AreaStore(io, { superblock, superblockPair, log, found: block });
    const isRepaired = superblockPair.isUneven && io.canWrite;
    if (isRepaired) {
      await store.flush();
      await io.flush();
    }
    return { state: 'ok', store, isRepaired };
  }

  /** As last read or written. */
  get superblock(): Superblock {
    return this.#superblock;
  }

  /** Writes the superblock with these fields changed. */
  writeSuperblock(change: SuperblockChange, options: WriteOptions = {}): Promise<void> {
    return this.#write(options, async () => {
      const pair = this.#superblockPair;
      const next: Superblock = { ...this.#superblock, ...change, sequence: pair.nextSequence() };
      const placed = pair.place(encodeSuperblock(next));
      await this.#writeUnlessLost(placed);
      pair.placed(placed.block);
      this.#superblock = next;
    });
  }

  /** Whether a superblock that is found there is one that we have tried to write, and nobody has told us how that went. */
  mayHaveWritten(block: Buffer): boolean {
    return this.#unanswered.some((one) => one.equals(block));
  }

  /** The whole set of hot extents: indices, ascending, at most LOG_EXTENTS_MAX. Copied. */
  writeLog(extents: readonly number[], options: WriteOptions = {}): Promise<void> {
    const copy = [...extents];
    return this.#write(options, () => this.#writeLog(copy));
  }

  /** The hot extents as last read or written. 'damaged': nobody knows, and every extent counts as hot. */
  readLog(): readonly number[] | 'damaged' {
    return this.#log.extents ?? 'damaged';
  }

  /**
   * The parts of `bitmap`, which is that of `slot`, that hold the given pages, as they are now. All of them are written,
   * or the promise rejects and any of them may be.
   */
  writeBitmap(
    slot: number,
    bitmap: RegionBitmap,
    pages: readonly number[],
    options: WriteOptions = {},
  ): Promise<void> {
    const copied = Buffer.allocUnsafe(pages.length * BITMAP_PAGE_BYTES);
    const parts = pages.map((index, place) => {
      const at = place * BITMAP_PAGE_BYTES;
      bitmap.writePage(index, copied, at);
      return { index, bits: copied.subarray(at, at + BITMAP_PAGE_BYTES) };
    });
    return this.#write(options, async () => {
      const changed = await this.#bitmaps.rewrite(slot, parts);
      if (changed !== null) await this.#flushDevice();
      await this.#bitmaps.write(slot, changed ?? parts);
    });
  }

  /**
   * What the component of `slot` may miss, the caller's own from then on. Pages that can't be believed have all bits and
   * count as changed, all others as unchanged.
   */
  readBitmap(slot: number): Promise<RegionBitmap> {
    return this.#turns.run(async () => {
      const bitmap = new RegionBitmap(this.#superblock.mediaSizeBytes);
      for (const { index, bits } of await this.#bitmaps.read(slot)) {
        if (bits === null) bitmap.markPage(index);
        else bitmap.loadPage(index, bits, 0);
      }
      return bitmap;
    });
  }

  /** Everything written so far is on stable storage when it resolves, if the device can flush. */
  flush(): Promise<void> {
    return this.#write({}, () => Promise.resolve());
  }

  /** There is no area any more when it resolves; this object is of no use then. */
  erase(): Promise<void> {
    return this.#turns.run(() => eraseSuperblocks(this.io));
  }

  /** How the area is written to, as one turn. */
  #write({ flush = true }: WriteOptions, run: () => Promise<void>): Promise<void> {
    return this.#turns.run(async () => {
      if (this.#found !== null) await this.#settle(this.#found);
      await run();
      if (flush || !this.io.canFlush) await this.#flushAll();
    });
  }

  async #settle(found: Buffer): Promise<void> {
    const log = this.#log.rewrite();
    const superblock = { at: this.#superblockPair.newestAt, block: found };
    await this.io.write(log === null ? [superblock] : [superblock, log]);
    this.#superblockPair.rewritten(found);
    await this.#flushDevice();
    this.#found = null;
  }

  async #writeUnlessLost(placed: PlacedBlock): Promise<void> {
    try {
      await this.io.write([placed]);
      this.#unanswered = [];
    } catch (cause) {
      // What never went out is not there.
      const wentOut = !(cause instanceof DeviceError && cause.errno === 'ENOTCONN');
      if (wentOut) this.#unanswered = [...this.#unanswered, placed.block].slice(-UNANSWERED_SUPERBLOCKS_MAX);
      throw cause;
    }
  }

  async #writeLog(extents: readonly number[]): Promise<void> {
    await this.io.write([this.#log.place(extents)]);
    this.#log.placed(extents);
  }

  /** With what was written once goes what was written and flushed before: its second copy. */
  async #flushAll(): Promise<void> {
    await this.io.write(this.#bitmaps.takeEchoes());
    const logEcho = this.#log.takeEcho();
    if (logEcho !== null) await this.#writeLog(logEcho);
    await this.#bitmaps.rewriteUneven();
    await this.#flushDevice();
    // A superblock may be the last thing that is written for months, so its second copy does not wait.
    const echo = this.#superblockPair.takeEcho();
    if (echo !== null) await this.io.write([echo]);
  }

  async #flushDevice(): Promise<void> {
    await this.io.flush();
    for (const part of [this.#superblockPair, this.#log, this.#bitmaps]) part.flushed();
  }
}

/** The newest copy goes last: the one before it must not come to light again, with a newer log and newer bitmaps. */
async function eraseSuperblocks(io: AreaIo): Promise<void> {
  const blocks = await io.readBlocks(superblockAt(0), 2);
  const newest = newestSuperblock([blocks[0] ?? null, blocks[1] ?? null]) ?? 0;
  for (const copy of [otherCopy(newest), newest]) {
    await io.zero(superblockAt(copy), AREA_BLOCK_BYTES);
    await io.flush();
  }
}
