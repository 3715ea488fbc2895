import type { BlockDevice } from '../../src/device/block-device.js';
import { AreaStore, type NewSuperblock } from '../../src/mirror/area/area-store.js';
import { BITMAP_PAGE_REGIONS, RegionBitmap } from '../../src/mirror/area/region-bitmap.js';
import { bitmapBlockCount, EXTENT_SIZE_BYTES } from '../../src/protocol/area-layout.js';
import { REGION_SIZE_BYTES } from '../../src/protocol/geometry.js';
import {
  FREE_SLOT,
  NO_UUID,
  SLOT_COUNT,
  type SlotRecord,
  type Superblock,
} from '../../src/protocol/superblock.js';
import type { SeededRandom } from './seeded-random.js';

/** Three bitmap blocks a slot, the last of them not full. */
export const AREA_MEDIA_BYTES = 5 * 2 ** 30;
/** Twenty: more than what is written singly. */
export const MANY_PAGES_MEDIA_BYTES = 39 * 2 ** 30;
const SLOTS = [0, 1];

export const uuidOf = (n: number): string => n.toString(16).padStart(32, '0');

export function newSuperblock(change: Partial<NewSuperblock> = {}): NewSuperblock {
  const componentUuid = uuidOf(0xc0);
  return {
    areaId: Buffer.from('0102030405060708', 'hex'),
    mirrorUuid: uuidOf(0xa0),
    componentUuid,
    name: 'data',
    mediaSizeBytes: AREA_MEDIA_BYTES,
    sectorSizeBytes: 512,
    regionSizeBytes: REGION_SIZE_BYTES,
    extentSizeBytes: EXTENT_SIZE_BYTES,
    isRunning: false,
    isInconsistent: false,
    current: uuidOf(1),
    history: [],
    slot: 0,
    genid: 0,
    syncid: 1,
    modifiedNs: 0n,
    slots: Array.from({ length: SLOT_COUNT }, (_, slot) =>
      slot === 0 ? { ...FREE_SLOT, componentUuid, lostAt: NO_UUID } : FREE_SLOT,
    ),
    ...change,
  };
}

// Every version of everything differs from every other in several sectors of its block, or no write could be torn.

/** A bitmap of which page `page` says `version` and nothing else; 0 marks nothing. */
export function bitmapSaying(page: number, version: number, mediaSizeBytes = AREA_MEDIA_BYTES): RegionBitmap {
  const bitmap = new RegionBitmap(mediaSizeBytes);
  const spread = version > 0 ? [0, 5_000, 11_000, 17_000] : [];
  for (const offset of spread) bitmap.markRegion(page * BITMAP_PAGE_REGIONS + offset + version);
  return bitmap;
}

const saysPage = (version: number): string =>
  version === 0 ? '0' : [0, 5_000, 11_000, 17_000].map((offset) => offset + version).join(' ');

const extentsOf = (version: number): number[] =>
  Array.from({ length: 300 }, (_, index) => version + index * 2);

const slotsOf = (version: number): SlotRecord[] =>
  newSuperblock().slots.with(7, { ...FREE_SLOT, componentUuid: uuidOf(0xc7), lostAt: uuidOf(version) });

export const saysSuperblock = ({ genid, slots }: Pick<Superblock, 'genid' | 'slots'>): string =>
  genid === 0 ? '0' : `${genid} ${slots[7]?.lostAt ?? 'nothing'}`;

/** What a page says: its version, 'all' if everything is marked, or a list of what is. */
export function pageSays(bitmap: RegionBitmap, page: number): string {
  const first = page * BITMAP_PAGE_REGIONS;
  const end = Math.min(bitmap.regionCount, first + BITMAP_PAGE_REGIONS);
  const marked: number[] = [];
  for (let at = bitmap.nextMarked(first); at >= 0 && at < end; at = bitmap.nextMarked(at + 1))
    marked.push(at - first);
  if (marked.length === end - first) return 'all';
  return marked.length === 0 ? '0' : marked.join(' ');
}

export interface Habits {
  /** The part of operations that flush. */
  readonly flush: number;
  /** The part of operations before which the store is opened anew, as by another process. */
  readonly reopen: number;
  readonly kinds: readonly ('superblock' | 'log' | 'bitmap' | 'flush')[];
}

const EVERY_KIND: Habits['kinds'] = ['superblock', 'log', 'log', 'bitmap', 'bitmap', 'flush'];
const HABITS: readonly Habits[] = [
  { flush: 0.6, reopen: 0.1, kinds: EVERY_KIND },
  { flush: 0.1, reopen: 0.4, kinds: EVERY_KIND },
  { flush: 0.5, reopen: 0.5, kinds: ['bitmap', 'superblock'] },
  { flush: 0.05, reopen: 0, kinds: ['log'] },
  { flush: 0.3, reopen: 0, kinds: ['log', 'bitmap', 'superblock', 'flush', 'flush'] },
];

/** Another one for each seed. */
export const habitsOf = (seed: number): Habits =>
  HABITS[seed % HABITS.length] ?? { flush: 1, reopen: 0, kinds: ['flush'] };

interface History {
  readonly versions: string[];
  /** Index of the oldest version that may be found. */
  floor: number;
  /** Index of the newest version that was written without an error and may become the floor. */
  written: number;
  /** Index of the newest version when the store was opened. */
  found: number;
}

/**
 * Writes versions to an area and knows which of them may be found afterwards: none older than the newest that a flush
 * covered, none that was never written.
 */
export class AreaModel {
  readonly #histories = new Map<string, History>();
  #version = 0;
  /** A write or flush, since the last good flush. */
  #hasFailed = false;

  readonly #pages: readonly number[];

  private constructor(private readonly mediaSizeBytes: number) {
    this.#pages = [...Array(bitmapBlockCount(mediaSizeBytes)).keys()];
    this.#histories.set('superblock', history('0'));
    this.#histories.set('log', history(''));
    for (const slot of SLOTS)
      for (const page of this.#pages) this.#histories.set(`${slot}:${page}`, history('0'));
  }

  /** Of a new area. */
  static fresh(mediaSizeBytes = AREA_MEDIA_BYTES): AreaModel {
    return new AreaModel(mediaSizeBytes);
  }

  /** Another store goes on. It knows neither what the one before has written nor that a flush of it failed. */
  reopened(): void {
    for (const past of this.#histories.values()) {
      past.found = past.versions.length - 1;
      if (this.#hasFailed) past.written = past.floor;
    }
  }

  /** One random operation; `habits` say how often what. Rejects as the store does. */
  async step(store: AreaStore, random: SeededRandom, habits: Habits): Promise<void> {
    this.#version += 1;
    const version = this.#version;
    const flush = random.chance(habits.flush);
    const kind = random.pick(habits.kinds);
    if (kind === 'flush') return this.#follow([], true, store.flush());
    if (kind === 'superblock') {
      const change = { genid: version, slots: slotsOf(version) };
      this.#attempt('superblock', saysSuperblock(change));
      return this.#follow(['superblock'], flush, store.writeSuperblock(change, { flush }));
    }
    if (kind === 'log') {
      const extents = version % 5 === 0 ? [] : extentsOf(version);
      this.#attempt('log', extents.join(' '));
      return this.#follow(['log'], flush, store.writeLog(extents, { flush }));
    }
    const slot = random.pick(SLOTS);
    const part = this.#pages.length > 3 && random.chance(0.7) ? 1 : 0.5;
    const pages = this.#pages.filter(() => random.chance(part));
    const bitmap = new RegionBitmap(this.mediaSizeBytes);
    for (const page of pages) {
      if (version % 7 !== 0) bitmap.union(bitmapSaying(page, version, this.mediaSizeBytes));
      this.#attempt(`${slot}:${page}`, saysPage(version % 7 === 0 ? 0 : version));
    }
    const items = pages.map((page) => `${slot}:${page}`);
    return this.#follow(items, flush, store.writeBitmap(slot, bitmap, pages, { flush }));
  }

  /** What is wrong with the area on this device; null if nothing is. `damage`: some of its blocks were damaged. */
  async verify(
    device: BlockDevice,
    options: { readonly isNewest?: boolean; readonly isDamaged?: boolean } = {},
  ): Promise<string | null> {
    const opened = await AreaStore.open(device, 0);
    if (opened.state !== 'ok') return options.isDamaged === true ? null : `the area is ${opened.state}`;
    const { store } = opened;
    const log = store.readLog();
    const found = new Map([
      ['superblock', saysSuperblock(store.superblock)],
      ['log', log === 'damaged' ? 'damaged' : log.join(' ')],
    ]);
    for (const slot of SLOTS) {
      const bitmap = await store.readBitmap(slot);
      bitmap.checkInvariants();
      for (const page of this.#pages) found.set(`${slot}:${page}`, pageSays(bitmap, page));
    }
    for (const [item, said] of found) {
      const wrong = this.#judge(item, said, options);
      if (wrong !== null) return wrong;
    }
    return null;
  }

  #judge(
    item: string,
    said: string,
    options: { readonly isNewest?: boolean; readonly isDamaged?: boolean },
  ): string | null {
    const { versions, floor } = this.#of(item);
    if (options.isDamaged === true) {
      const isAllowed = said === 'all' || said === 'damaged' || versions.includes(said);
      return isAllowed ? null : `${item} says '${said}', which was never written`;
    }
    const allowed = options.isNewest === true ? versions.slice(-1) : versions.slice(floor);
    // The first version goes to both copies of a bitmap block at once, and tearing both says more than there was.
    if (said === 'all' && floor === 0 && item.includes(':') && options.isNewest !== true) return null;
    return allowed.includes(said) ? null : `${item} says '${said}', not one of '${allowed.join("', '")}'`;
  }

  #attempt(item: string, said: string): void {
    this.#of(item).versions.push(said);
  }

  async #follow(items: readonly string[], flush: boolean, done: Promise<void>): Promise<void> {
    try {
      await done;
    } catch (error) {
      // What this store has written before, and not flushed, the next flush covers all the same.
      for (const [item, past] of this.#histories)
        if (items.includes(item) || past.written <= past.found) past.written = past.floor;
      this.#hasFailed = true;
      throw error;
    }
    for (const item of items) this.#of(item).written = this.#of(item).versions.length - 1;
    if (!flush) return;
    for (const past of this.#histories.values()) past.floor = past.written;
    this.#hasFailed = false;
  }

  #of(item: string): History {
    const past = this.#histories.get(item);
    if (past === undefined) throw new Error(`no item ${item}`);
    return past;
  }
}

const history = (first: string): History => ({ versions: [first], floor: 0, written: 0, found: 0 });
