import { ActivityLog } from '../src/mirror/activity-log.js';
import { AreaStore } from '../src/mirror/area-store.js';
import { Component } from '../src/mirror/component.js';
import { ComponentStore } from '../src/mirror/component-store.js';
import { Journal } from '../src/mirror/journal.js';
import { RangeLocks } from '../src/mirror/range-locks.js';
import { RegionBitmap } from '../src/mirror/region-bitmap.js';

/** Mistakes that a mirror could have. While one is planted, product code is patched; the product has no switches. */
export interface Bug {
  readonly name: string;
  /** Returns what takes it out again. */
  plant(): () => void;
}

const nothing = (): Promise<void> => Promise.resolve();

/** Puts functions in place of methods. */
function patch<Class extends object>(
  prototype: Class,
  methods: { [Name in keyof Class]?: unknown },
): () => void {
  const before = Object.getOwnPropertyDescriptors(prototype);
  for (const [name, value] of Object.entries(methods))
    Object.defineProperty(prototype, name, { value, configurable: true, writable: true });
  return () => {
    for (const name of Object.keys(methods)) {
      const descriptor = before[name as keyof typeof before] as PropertyDescriptor | undefined;
      if (descriptor !== undefined) Object.defineProperty(prototype, name, descriptor);
    }
  };
}

export const BUGS: readonly Bug[] = [
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
    name: 'ranges are not locked',
    plant: () => patch(RangeLocks.prototype, { acquire: () => true, release: () => undefined }),
  },
  {
    name: 'what a lost component has not flushed is not marked',
    plant: () => {
      // eslint-disable-next-line @typescript-eslint/unbound-method -- it is called with the component as this
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
    plant: () => patch(Journal.prototype, { lossesRecorded: nothing }),
  },
];
