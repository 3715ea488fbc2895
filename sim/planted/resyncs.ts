import { type BlockIo, DeviceError } from '../../src/device/block-device.js';
import type { Clock } from '../../src/device/clock.js';
import { Component } from '../../src/mirror/component.js';
import type { ComponentSet } from '../../src/mirror/component-set.js';
import { ComponentStore } from '../../src/mirror/area/component-store.js';
import type { SuperblockChange } from '../../src/mirror/area/meta-store.js';
import { MirrorReads } from '../../src/mirror/mirror-reads.js';
import { type RangeHolder, RangeLocks } from '../../src/mirror/range-locks.js';
import { Resync, type ResyncOptions } from '../../src/mirror/sweep/resync.js';
import { ResyncPiece } from '../../src/mirror/sweep/resync-piece.js';
import { RegionWrite } from '../../src/mirror/sweep/region-write.js';
import { Share } from '../../src/mirror/sweep/share.js';
import type { ByteRange } from '../../src/protocol/geometry.js';
import { type Mistake, patch } from './mistake.js';

/** Every method is called with its object as this. */
/* eslint-disable @typescript-eslint/unbound-method */

/** So much later is written what was read with no lock. */
const LATE_MS = 30;

/** What was read before would be what is written: nobody kept writes away meanwhile. */
function copyUnlocked(): () => void {
  const { acquire, release } = RangeLocks.prototype;
  const { start } = RegionWrite.prototype;
  const { makePiece } = Resync.prototype;
  const time: { clock: Clock | null } = { clock: null };
  const plants = [
    patch(Resync.prototype, {
      makePiece(this: Resync) {
        time.clock = (this as unknown as { options: ResyncOptions }).options.clock;
        return makePiece.call(this);
      },
    }),
    patch(RangeLocks.prototype, {
      acquire(this: RangeLocks, holder: RangeHolder) {
        return holder instanceof ResyncPiece || acquire.call(this, holder);
      },
      release(this: RangeLocks, holder: RangeHolder) {
        if (!(holder instanceof ResyncPiece)) release.call(this, holder);
      },
    }),
    patch(RegionWrite.prototype, {
      start(this: RegionWrite, component: Component, share: Share, range: ByteRange) {
        time.clock?.after(LATE_MS, () => {
          if (component.isConnected) start.call(this, component, share, range);
          else this.answered(component, new DeviceError('DEVICE_LOST', 'ENXIO', 'it is gone'));
        });
      },
    }),
  ];
  return () => plants.forEach((remove) => remove());
}

/** Mistakes in copying to a component that is behind. */
export const RESYNCS: readonly Mistake[] = [
  {
    name: 'the target of a resync does not say that it is INCONSISTENT',
    plant: () => {
      const { writeSuperblock } = ComponentStore.prototype;
      return patch(ComponentStore.prototype, {
        writeSuperblock(this: ComponentStore, change: SuperblockChange) {
          return writeSuperblock.call(this, { ...change, isInconsistent: false });
        },
      });
    },
  },
  {
    name: 'a resync reads from its target',
    plant: () => {
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
      const { start } = MirrorReads.prototype;
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
    name: 'a resync reads its source before it locks the range',
    way: { wire: 'queue', only: ['cut', 'rebuild'] },
    saying: /which is newer/,
    plant: copyUnlocked,
  },
  {
    name: 'a resync empties a region of its target before it copies it',
    way: { wire: 'queue', only: ['cut', 'rebuild'] },
    saying: /which is newer/,
    plant: () => {
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
    way: { wire: 'queue', only: ['cut', 'power'] },
    plant: () => {
      const { checkpoint } = Resync.prototype;
      return patch(Resync.prototype, {
        async checkpoint(this: Resync) {
          const { target } = (this as unknown as { options: ResyncOptions }).options;
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
    name: 'a component that is lost is copied to as a whole',
    saying: /in which nothing was written/,
    plant: () => {
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
    name: 'a resync writes everything twice',
    way: { wire: 'queue', only: ['cut', 'power'] },
    saying: /no more than/,
    plant: () => {
      const { start } = RegionWrite.prototype;
      return patch(RegionWrite.prototype, {
        start(this: RegionWrite, component: Component, share: Share, range: ByteRange) {
          const again = (_component: Component, error: DeviceError | null): void => {
            if (error === null) start.call(this, component, share, range);
            else this.answered(component, error);
          };
          const bufferAt = range.offsetBytes - share.offsetBytes;
          component.start({ op: 'write', ...range, buffer: share.data, bufferAt, answered: again });
        },
      });
    },
  },
  {
    name: 'a resync takes for written what it has only read',
    plant: () =>
      patch(RegionWrite.prototype, {
        start(this: RegionWrite, component: Component) {
          queueMicrotask(() => this.answered(component, null));
        },
      }),
  },
];
