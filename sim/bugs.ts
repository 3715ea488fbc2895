import type { BlockIo, DeviceError } from '../src/device/block-device.js';
import { ActivityLog } from '../src/mirror/activity-log.js';
import { AreaStore } from '../src/mirror/area/area-store.js';
import { ReadBalance } from '../src/mirror/balance.js';
import { Component } from '../src/mirror/component.js';
import type { ComponentSet } from '../src/mirror/component-set.js';
import { ComponentStore } from '../src/mirror/area/component-store.js';
import { Journal } from '../src/mirror/journal/journal.js';
import type { SuperblockChange } from '../src/mirror/area/meta-store.js';
import { MirrorFlush } from '../src/mirror/mirror-flush.js';
import { Mirror } from '../src/mirror/mirror.js';
import { MirrorReads } from '../src/mirror/mirror-reads.js';
import { type RangeHolder, RangeLocks } from '../src/mirror/range-locks.js';
import { RegionBitmap } from '../src/mirror/area/region-bitmap.js';
import { Resync, type ResyncOptions } from '../src/mirror/sweep/resync.js';
import { ResyncPiece } from '../src/mirror/sweep/resync-piece.js';
import { RegionWrite } from '../src/mirror/sweep/region-write.js';
import { Share } from '../src/mirror/sweep/share.js';
import { type ByteRange, regionCount } from '../src/protocol/geometry.js';

/** Mistakes that a mirror could have. While one is planted, product code is patched; the product has no switches. */
export interface Bug {
  readonly name: string;
  /** Lives that are known to find a mistake that takes long to be found otherwise; they are tried first. */
  readonly seeds?: readonly number[];
  /** What the life that finds it says, where one check is to find it; the others would not. */
  readonly saying?: RegExp;
  /** Returns what takes it out again. */
  plant(): () => void;
}

const nothing = (): Promise<void> => Promise.resolve();

/** Puts functions in place of methods. */
export function patch<Class extends object>(
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
    // Writes wait in a loop for as long as a loss is pending, so that has to be gone, too.
    plant: () => patch(Journal.prototype, { lossesRecorded: nothing, isLossPending: false }),
  },
  {
    name: 'labels are not written',
    plant: () => patch(ComponentStore.prototype, { writeLabel: nothing }),
  },
  {
    name: 'one mark too many is taken away',
    seeds: [20],
    plant: () => {
      // eslint-disable-next-line @typescript-eslint/unbound-method -- it is called with the bitmap as this
      const { clearRun } = RegionBitmap.prototype;
      return patch(RegionBitmap.prototype, {
        clearRun(this: RegionBitmap, first: number, count: number) {
          clearRun.call(this, first, Math.min(count + 1, this.regionCount - first));
        },
      });
    },
  },
  {
    name: 'the target of a resync does not say that it is INCONSISTENT',
    seeds: [11],
    plant: () => {
      // eslint-disable-next-line @typescript-eslint/unbound-method -- it is called with the store as this
      const { writeSuperblock } = ComponentStore.prototype;
      return patch(ComponentStore.prototype, {
        writeSuperblock(this: ComponentStore, change: SuperblockChange) {
          return writeSuperblock.call(this, { ...change, isInconsistent: false });
        },
      });
    },
  },
  {
    name: 'extents leave the log without a flush',
    seeds: [23],
    plant: () => patch(MirrorFlush.prototype, { run: nothing }),
  },
  {
    name: 'a resync reads from its target',
    plant: () => {
      // eslint-disable-next-line @typescript-eslint/unbound-method -- it is called with the reads as this
      const { start } = MirrorReads.prototype;
      return patch(MirrorReads.prototype, {
        start(this: MirrorReads, io: BlockIo) {
          const { components } = (this as unknown as { options: { components: ComponentSet } }).options;
          const target = components.targets.find(({ state }) => state === 'SYNCHRONIZING');
          if (io instanceof Share && target !== undefined) target.start(io);
          else start.call(this, io);
        },
      });
    },
  },
  {
    name: 'a resync writes to its source',
    plant: () => {
      const read: { from: Component | undefined } = { from: undefined };
      // eslint-disable-next-line @typescript-eslint/unbound-method -- it is called with the reads as this
      const { start } = MirrorReads.prototype;
      // eslint-disable-next-line @typescript-eslint/unbound-method -- it is called with the write as this
      const write = RegionWrite.prototype.start;
      const plants = [
        patch(MirrorReads.prototype, {
          start(this: MirrorReads, io: BlockIo) {
            const { components } = (this as unknown as { options: { components: ComponentSet } }).options;
            read.from = components.active[0];
            const target = components.targets.find(({ state }) => state === 'SYNCHRONIZING');
            if (io instanceof Share && target !== undefined) target.start(io);
            else start.call(this, io);
          },
        }),
        patch(RegionWrite.prototype, {
          start(this: RegionWrite, component: Component, share: Share, range: ByteRange) {
            write.call(this, read.from ?? component, share, range);
          },
        }),
      ];
      return () => plants.forEach((remove) => remove());
    },
  },
  {
    name: 'a component that is behind answers reads',
    plant: () => {
      // eslint-disable-next-line @typescript-eslint/unbound-method -- it is called with the balance as this
      const { setState } = ReadBalance.prototype;
      return patch(ReadBalance.prototype, {
        setState(this: ReadBalance, index: number, state: Parameters<typeof setState>[1]) {
          setState.call(this, index, state === 'CONNECTED' ? 'ACTIVE' : state);
        },
      });
    },
  },
  {
    name: 'checksums of a cache are believed after a failed flush',
    seeds: [205, 1023, 1235],
    plant: () => {
      // eslint-disable-next-line @typescript-eslint/unbound-method -- it is called with the component as this
      const { move } = Component.prototype;
      return patch(Component.prototype, {
        move(this: Component, ...args: Parameters<typeof move>) {
          this.isCacheDoubtful = false;
          move.apply(this, args);
        },
      });
    },
  },
  {
    name: 'the only good copy is believed after a failed flush',
    seeds: [2160, 2092],
    plant: () => patch(Component.prototype, { doubt: () => undefined }),
  },
  {
    name: 'a resync reads its source before it locks the range',
    seeds: [262],
    saying: /which is newer/,
    // As what was read before would be, what is read is what was there when nobody kept writes away.
    plant: () => {
      // eslint-disable-next-line @typescript-eslint/unbound-method -- they are called with the locks as this
      const { acquire, release } = RangeLocks.prototype;
      return patch(RangeLocks.prototype, {
        acquire(this: RangeLocks, holder: RangeHolder) {
          return holder instanceof ResyncPiece || acquire.call(this, holder);
        },
        release(this: RangeLocks, holder: RangeHolder) {
          if (!(holder instanceof ResyncPiece)) release.call(this, holder);
        },
      });
    },
  },
  {
    name: 'a resync empties a region of its target before it copies it',
    seeds: [2],
    saying: /which is newer/,
    plant: () => {
      // eslint-disable-next-line @typescript-eslint/unbound-method -- it is called with the write as this
      const { start } = RegionWrite.prototype;
      return patch(RegionWrite.prototype, {
        start(this: RegionWrite, component: Component, share: Share, range: ByteRange) {
          const zeroes = { op: 'write-zeroes', ...range, buffer: null, bufferAt: 0 } as const;
          component.start({ ...zeroes, answered: () => start.call(this, component, share, range) });
        },
      });
    },
  },
  {
    name: 'what was copied is not flushed before its marks go',
    seeds: [12],
    plant: () => {
      // eslint-disable-next-line @typescript-eslint/unbound-method -- it is called with the resync as this
      const { checkpoint } = Resync.prototype;
      return patch(Resync.prototype, {
        async checkpoint(this: Resync) {
          const { target } = (this as unknown as { options: ResyncOptions }).options;
          // eslint-disable-next-line @typescript-eslint/unbound-method -- it is called with the component as this
          const { start } = target;
          target.start = (io) => {
            if (io.op === 'flush') queueMicrotask(() => io.answered(target, null));
            else start.call(target, io);
          };
          const ended = checkpoint.call(this);
          // The flush is the first that it asks for.
          target.start = start;
          await ended;
        },
      });
    },
  },
  {
    name: 'a component that fails a flush stays in step, and the flush is answered',
    seeds: [16],
    plant: () => {
      // eslint-disable-next-line @typescript-eslint/unbound-method -- it is called with the mirror as this
      const { drop } = Mirror.prototype;
      return patch(Mirror.prototype, {
        drop(this: Mirror, component: Component, error: DeviceError) {
          return / flush: DEVICE_IO/.test(error.message) || drop.call(this, component, error);
        },
      });
    },
  },
  {
    name: 'a component that is lost is copied to as a whole',
    saying: /in which nothing was written/,
    plant: () => {
      // eslint-disable-next-line @typescript-eslint/unbound-method -- it is called with the component as this
      const { lose } = Component.prototype;
      return patch(Component.prototype, {
        lose(this: Component, ...args: Parameters<typeof lose>) {
          this.missing.markAll();
          return lose.apply(this, args);
        },
      });
    },
  },
  {
    name: 'a resync copies a region more than is marked',
    seeds: [16],
    saying: /no more than/,
    plant: () => {
      // eslint-disable-next-line @typescript-eslint/unbound-method -- it is called with the resync as this
      const { next } = Resync.prototype;
      return patch(Resync.prototype, {
        next(this: Resync, regionsMax: number) {
          const run = next.call(this, regionsMax - 1);
          const { mediaSizeBytes } = (this as unknown as { options: ResyncOptions }).options;
          const isLast = run === null || run.firstRegion + run.regionCount >= regionCount(mediaSizeBytes);
          return isLast ? run : { ...run, regionCount: run.regionCount + 1 };
        },
      });
    },
  },
];
