import type { DeviceError } from '../../src/device/block-device.js';
import { ReadBalance } from '../../src/mirror/balance.js';
import { Component } from '../../src/mirror/component.js';
import { MirrorFlush } from '../../src/mirror/mirror-flush.js';
import { Mirror } from '../../src/mirror/mirror.js';
import { RangeLocks } from '../../src/mirror/range-locks.js';
import { type Mistake, patch } from './mistake.js';

/** Every method is called with its object as this. */
/* eslint-disable @typescript-eslint/unbound-method */

const nothing = (): Promise<void> => Promise.resolve();

/** Mistakes in how reads, writes and flushes reach the components. */
export const REQUESTS: readonly Mistake[] = [
  {
    name: 'ranges are not locked',
    plant: () => patch(RangeLocks.prototype, { acquire: () => true, release: () => undefined }),
  },
  {
    name: 'extents leave the log without a flush',
    seeds: [23],
    plant: () => patch(MirrorFlush.prototype, { run: nothing }),
  },
  {
    name: 'a component that is behind answers reads',
    plant: () => {
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
    name: 'a component that fails a flush stays in step, and the flush is answered',
    seeds: [16],
    plant: () => {
      const { drop } = Mirror.prototype;
      return patch(Mirror.prototype, {
        drop(this: Mirror, component: Component, error: DeviceError) {
          return / flush: DEVICE_IO/.test(error.message) || drop.call(this, component, error);
        },
      });
    },
  },
];
