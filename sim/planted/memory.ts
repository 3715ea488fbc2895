import { ActivityLog } from '../../src/mirror/activity-log.js';
import { AreaStore } from '../../src/mirror/area/area-store.js';
import { Component } from '../../src/mirror/component.js';
import { ComponentStore } from '../../src/mirror/area/component-store.js';
import { Journal } from '../../src/mirror/journal/journal.js';
import { RegionBitmap } from '../../src/mirror/area/region-bitmap.js';
import { type Mistake, patch } from './mistake.js';

/** Every method is called with its object as this. */
/* eslint-disable @typescript-eslint/unbound-method */

const nothing = (): Promise<void> => Promise.resolve();

/** Mistakes in what a mirror remembers of what its components may miss. */
export const MEMORY: readonly Mistake[] = [
  {
    name: 'the activity log is not committed',
    plant: () => patch(Journal.prototype, { commitLog: nothing }),
  },
  {
    name: 'extents leave the log without a flush and without marks',
    plant: () => patch(Journal.prototype, { retire: nothing }),
  },
  {
    name: 'a write is sent before its extents are in the log',
    plant: () =>
      patch(ActivityLog.prototype, {
        enter: () => true,
        leave: () => undefined,
        empty: () => Promise.resolve(true),
      }),
  },
  {
    name: 'what a lost component has not flushed is not marked',
    plant: () => {
      const { lose } = Component.prototype;
      return patch(Component.prototype, {
        lose(this: Component, ...args: Parameters<typeof lose>) {
          this.unflushed = new RegionBitmap(this.missing.mediaSizeBytes);
          return lose.apply(this, args);
        },
      });
    },
  },
  {
    name: 'the log is not looked at after a crash',
    plant: () => patch(AreaStore.prototype, { readLog: () => [] }),
  },
  {
    name: 'bitmaps are not looked at when the mirror starts',
    plant: () =>
      patch(ComponentStore.prototype, {
        readBitmap(this: ComponentStore) {
          return Promise.resolve(new RegionBitmap(this.superblock.mediaSizeBytes));
        },
      }),
  },
  {
    name: 'marks are not written down',
    plant: () => patch(ComponentStore.prototype, { writeBitmap: nothing }),
  },
  {
    name: 'the private area is not flushed',
    plant: () => patch(ComponentStore.prototype, { flush: nothing }),
  },
  {
    name: 'a loss is not written down',
    // Writes wait in a loop for as long as a loss is pending, so that has to be gone, too.
    plant: () => patch(Journal.prototype, { lossesRecorded: nothing, isLossPending: false }),
  },
  {
    name: 'labels are not written',
    plant: () => patch(ComponentStore.prototype, { writeLabel: nothing }),
  },
  {
    name: 'with the marks of what was copied go those of what is yet to be',
    way: { wire: 'queue', only: ['cut', 'power', 'kill'] },
    plant: () => {
      const { clearRun } = RegionBitmap.prototype;
      return patch(RegionBitmap.prototype, {
        clearRun(this: RegionBitmap) {
          clearRun.call(this, 0, this.regionCount);
        },
      });
    },
  },
];
