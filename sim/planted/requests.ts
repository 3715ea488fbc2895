import type { BlockIo, DeviceError } from '../../src/device/block-device.js';
import { ReadBalance } from '../../src/mirror/balance.js';
import { Component } from '../../src/mirror/component.js';
import { type FlushHost, MirrorFlush } from '../../src/mirror/mirror-flush.js';
import { Mirror } from '../../src/mirror/mirror.js';
import { MirrorWrite } from '../../src/mirror/mirror-write.js';
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
    way: { wire: 'queue', only: ['failed-flush', 'power'] },
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
    way: { wire: 'queue', only: ['failed-flush', 'power', 'cut'] },
    plant: () => patch(Component.prototype, { doubt: () => undefined }),
  },
  {
    name: 'a component that fails a flush stays in step, and the flush is answered',
    way: { wire: 'queue', only: ['failed-flush', 'power'] },
    plant: () => {
      const { drop } = Mirror.prototype;
      return patch(Mirror.prototype, {
        drop(this: Mirror, component: Component, error: DeviceError) {
          return / flush: DEVICE_IO/.test(error.message) || drop.call(this, component, error);
        },
      });
    },
  },
  {
    name: 'a component that fails a write stays in step',
    way: { wire: 'queue', only: ['fail', 'power'] },
    plant: () => {
      const { drop } = Mirror.prototype;
      return patch(Mirror.prototype, {
        drop(this: Mirror, component: Component, error: DeviceError) {
          return / write: DEVICE_IO/.test(error.message) || drop.call(this, component, error);
        },
      });
    },
  },
  {
    name: 'a write is answered when one component has taken it',
    plant: () => {
      const { answered } = MirrorWrite.prototype;
      const early = new WeakSet<MirrorWrite>();
      return patch(MirrorWrite.prototype, {
        answered(this: MirrorWrite, component: Component, error: DeviceError | null) {
          const write = this as unknown as { io: BlockIo };
          if (error === null && !early.has(this)) {
            early.add(this);
            const { io } = write;
            write.io = Object.create(io, { done: { value: () => undefined } }) as BlockIo;
            io.done(null);
          }
          answered.call(this, component, error);
        },
      });
    },
  },
  {
    name: 'what is written while a component is away is not marked',
    plant: () => patch(Mirror.prototype, { absent: [] }),
  },
  {
    name: 'a flush goes to one component only',
    way: { wire: 'queue', only: ['power', 'blackout', 'kill'] },
    plant: () =>
      patch(MirrorFlush.prototype, {
        start(this: MirrorFlush, flush: BlockIo) {
          const { host } = this as unknown as { host: FlushHost };
          const one = host.targets.find(({ state }) => state === 'ACTIVE');
          const io = { op: 'flush', offsetBytes: 0, lengthBytes: 0, buffer: null, bufferAt: 0 } as const;
          one?.start({ ...io, answered: (_component, error) => flush.done(error) });
        },
      }),
  },
  {
    name: 'a component that says nothing is waited for',
    way: { wire: 'queue', only: ['hang', 'stall', 'cut'] },
    plant: () => patch(Component.prototype, { silentMs: () => 0 }),
  },
];
