import { EXTENT_SIZE_BYTES } from '../../protocol/area-layout.js';
import { NO_UUID } from '../../protocol/superblock.js';
import type { ComponentMedia } from '../component.js';
import type { MetaStore } from '../area/meta-store.js';
import { RegionBitmap } from '../area/region-bitmap.js';

/** A component, or what is to be known of one. */
export interface Marked {
  readonly missing: RegionBitmap;
  /** Everything must be copied: `missing` is full. */
  isFull: boolean;
}

/** Nothing tells what it misses: everything is copied. */
export function markEverything(component: Marked): void {
  component.isFull = true;
  component.missing.markAll();
}

/** Extents that may have been written while nobody knows where it arrived. 'damaged': nobody knows which. */
export function markExtents(component: Marked, extents: readonly number[] | 'damaged'): void {
  if (extents === 'damaged') {
    markEverything(component);
    return;
  }
  for (const extent of extents) markExtent(component.missing, extent);
}

function markExtent(missing: RegionBitmap, extent: number): void {
  const offsetBytes = extent * EXTENT_SIZE_BYTES;
  const restBytes = missing.mediaSizeBytes - offsetBytes;
  if (restBytes > 0) missing.mark({ offsetBytes, lengthBytes: Math.min(EXTENT_SIZE_BYTES, restBytes) });
}

/** What `store` has noted for these slots, a component in step with others or itself. Rejects with DeviceError. */
export async function markNoted(
  component: Marked,
  store: MetaStore,
  slots: readonly number[],
): Promise<void> {
  for (const slot of slots) component.missing.union(await store.readBitmap(slot));
}

/**
 * It may not have what it reads, since it failed a flush: as the only good copy, which it has noted itself (see
 * Component.doubt()), or when nobody was left to note it.
 */
export function mayLackFlushed({ data, store, flushNote }: ComponentMedia): boolean {
  if (flushNote?.isInDoubt === true) return true;
  const { slot, slots } = store.superblock;
  const record = slots[slot];
  // One that can't flush has marks, too, and never had anything else.
  return data.can.flush && record?.isMarked === true && record.lostAt === NO_UUID;
}

/**
 * What a component that comes tells of itself: where it may have been written while nobody here saw it, or lost what it
 * was sent. `others` are slots of components in step. Rejects with DeviceError.
 */
export async function hear(component: Marked, store: MetaStore, others: readonly number[]): Promise<void> {
  await markNoted(component, store, [store.superblock.slot, ...others]);
  markExtents(component, store.readLog());
}

/**
 * Whether a component that comes is to be heard although the mirror saw it go. A mixture may have been copied to once more
 * since, by another one that had gone on without all that are in step here: it has some of what that one had, and of that
 * the mirror knows nothing.
 */
export function isStray(
  { superblock: { slots, isInconsistent } }: MetaStore,
  inStep: readonly number[],
): boolean {
  const isLost = (slot: number): boolean => slots[slot]?.lostAt !== NO_UUID;
  return isInconsistent && inStep.every(isLost);
}

/**
 * Whose bitmaps count, of those that a component which is heard has noted; `inStep` are slots of those in step, at least one.
 *
 * One that is whole has nothing that nobody of them has: what it had noted for another one, that one has got since, from
 * whoever copied to it. A mixture has some of what its source had. What that had noted for anybody names all of it, also if
 * both are gone.
 */
export function heardSlots({ superblock }: MetaStore, inStep: readonly number[]): readonly number[] {
  const { slots, slot: own, isInconsistent } = superblock;
  if (isInconsistent) return [...slots.keys()].filter((slot) => slot !== own);
  const level = inStep.find((slot) => slots[slot]?.lostAt === NO_UUID);
  return level === undefined ? inStep.slice(0, 1) : [level];
}

/** What a component tells of itself, apart from what others know of it. Rejects with DeviceError. */
export async function ownAccount(store: MetaStore, others: readonly number[]): Promise<Marked> {
  const account = { missing: new RegionBitmap(store.superblock.mediaSizeBytes), isFull: false };
  await hear(account, store, others);
  return account;
}
