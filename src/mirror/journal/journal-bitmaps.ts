import type { Component } from '../component.js';
import type { StoreStep } from './everywhere.js';
import type { MetaStore } from '../area/meta-store.js';
import { RegionBitmap } from '../area/region-bitmap.js';

/** What a component may miss, as the others are to remember it. */
function bitmapOf(component: Component): RegionBitmap {
  if (!component.isConnected || component.can.flush) return component.missing;
  // What was written to a component that can't flush stays suspect for as long as it is there.
  const both = new RegionBitmap(component.mediaSizeBytes);
  both.union(component.missing);
  both.union(component.unflushed);
  return both;
}

/** What has changed of what components miss. Not flushed; what failed counts as changed again. */
export async function putBitmaps(
  components: readonly Component[],
  everywhere: (step: StoreStep) => Promise<void>,
): Promise<void> {
  for (const component of components) {
    const bitmap = bitmapOf(component);
    const pages = bitmap.takeChangedPages();
    if (pages.length === 0) continue;
    const { slot } = component.identity;
    try {
      await everywhere((store) => store.writeBitmap(slot, bitmap, pages));
    } catch (error) {
      for (const page of pages) bitmap.retakePage(page);
      throw error;
    }
  }
}

/**
 * All that components miss, to one that was not there when it was written down; what its store has noted itself goes. Not
 * flushed.
 */
export async function tellBitmaps(store: MetaStore, components: readonly Component[]): Promise<void> {
  for (const component of components) {
    const { slot } = component.identity;
    const bitmap = bitmapOf(component);
    const noted = await store.readBitmap(slot);
    const pages = [...new Set([...bitmap.markedPages(), ...noted.markedPages()])];
    if (pages.length > 0) await store.writeBitmap(slot, bitmap, pages);
  }
}

/** Those that doubt themselves: see Component.doubt(). */
export const doubtfulOf = (active: readonly Component[]): readonly Component[] =>
  active.filter(({ isCacheDoubtful }) => isCacheDoubtful);

/**
 * What those that doubt themselves may not have, to their own stores. Not flushed: after a failure the mirror may end
 * before a flush succeeds, and whoever starts it next reads this from the same cache as the data.
 */
export async function noteDoubts(
  active: readonly Component[],
  writeIdentity: (component: Component) => Promise<void>,
): Promise<void> {
  for (const component of doubtfulOf(active)) {
    await tellBitmaps(component.store, [component]);
    await writeIdentity(component);
  }
}
