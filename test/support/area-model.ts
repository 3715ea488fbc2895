import type { BlockDevice } from '../../src/device/block-device.js';
import { AreaStore, type NewSuperblock } from '../../src/mirror/area-store.js';
import { BITMAP_PAGE_REGIONS, RegionBitmap } from '../../src/mirror/region-bitmap.js';
import { EXTENT_SIZE_BYTES } from '../../src/protocol/area-layout.js';
import { REGION_SIZE_BYTES } from '../../src/protocol/geometry.js';
import { FREE_SLOT, NO_UUID, SLOT_COUNT } from '../../src/protocol/superblock.js';
import type { SeededRandom } from './seeded-random.js';

/** Three bitmap blocks a slot, the last of them not full. */
export const AREA_MEDIA_BYTES = 5 * 2 ** 30;
const SLOTS = [0, 1];
const PAGES = [0, 1, 2];

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

/** A bitmap of which page `page` says `version` and nothing else; 0 marks nothing. */
export function bitmapSaying(page: number, version: number): RegionBitmap {
  const bitmap = new RegionBitmap(AREA_MEDIA_BYTES);
  if (version > 0) bitmap.markRegion(page * BITMAP_PAGE_REGIONS + version);
  return bitmap;
}

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

interface History {
  readonly versions: string[];
  /** Index of the oldest version that may be found. */
  floor: number;
  /** Index of the newest version that was written without an error and may become the floor. */
  written: number;
}

/**
 * Writes versions to an area and knows which of them may be found afterwards: none older than the newest that a flush
 * covered, none that was never written.
 */
export class AreaModel {
  readonly #histories = new Map<string, History>();
  #version = 0;
  /** Kinds of operations that were performed, for tests that want to see all. */
  readonly performed = new Set<string>();

  private constructor() {
    this.#histories.set('superblock', history('0'));
    this.#histories.set('log', history(''));
    for (const slot of SLOTS) for (const page of PAGES) this.#histories.set(`${slot}:${page}`, history('0'));
  }

  /** Of a new area. */
  static fresh(): AreaModel {
    return new AreaModel();
  }

  /** One random operation. Rejects as the store does. */
  async step(store: AreaStore, random: SeededRandom): Promise<void> {
    this.#version += 1;
    const version = this.#version;
    const flush = random.chance(0.6);
    const kind = random.pick(['superblock', 'log', 'log', 'bitmap', 'bitmap', 'flush']);
    this.performed.add(kind);
    if (kind === 'flush') return this.#follow([], true, store.flush());
    if (kind === 'superblock') {
      this.#attempt('superblock', String(version));
      return this.#follow(['superblock'], flush, store.writeSuperblock({ genid: version }, { flush }));
    }
    if (kind === 'log') {
      const extents = version % 5 === 0 ? [] : [version, version + 1];
      this.#attempt('log', extents.join(' '));
      return this.#follow(['log'], flush, store.writeLog(extents, { flush }));
    }
    const slot = random.pick(SLOTS);
    const pages = PAGES.filter(() => random.chance(0.5));
    const bitmap = new RegionBitmap(AREA_MEDIA_BYTES);
    for (const page of pages) {
      if (version % 7 !== 0) bitmap.union(bitmapSaying(page, version));
      this.#attempt(`${slot}:${page}`, version % 7 === 0 ? '0' : String(version));
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
      ['superblock', String(store.superblock.genid)],
      ['log', log === 'damaged' ? 'damaged' : log.join(' ')],
    ]);
    for (const slot of SLOTS) {
      const bitmap = await store.readBitmap(slot);
      bitmap.checkInvariants();
      for (const page of PAGES) found.set(`${slot}:${page}`, pageSays(bitmap, page));
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
    return allowed.includes(said) ? null : `${item} says '${said}', not one of '${allowed.join("', '")}'`;
  }

  #attempt(item: string, said: string): void {
    this.#of(item).versions.push(said);
  }

  async #follow(items: readonly string[], flush: boolean, done: Promise<void>): Promise<void> {
    try {
      await done;
    } catch (error) {
      // What was not flushed before counts as failed too.
      for (const past of this.#histories.values()) past.written = past.floor;
      throw error;
    }
    for (const item of items) this.#of(item).written = this.#of(item).versions.length - 1;
    if (flush) for (const past of this.#histories.values()) past.floor = past.written;
  }

  #of(item: string): History {
    const past = this.#histories.get(item);
    if (past === undefined) throw new Error(`no item ${item}`);
    return past;
  }
}

const history = (first: string): History => ({ versions: [first], floor: 0, written: 0 });
