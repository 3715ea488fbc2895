import { FlushNote } from '../../src/device/flush-note.js';
import { FlushTurns } from '../../src/device/flush-turns.js';
import { Component, type ComponentMedia } from '../../src/mirror/component.js';
import { Journal } from '../../src/mirror/journal/journal.js';
import { Mirror } from '../../src/mirror/mirror.js';
import { type Mistake, patch } from './mistake.js';

/** Every method is called with its object as this. */
/* eslint-disable @typescript-eslint/unbound-method */

/** Mistakes that the product has had: docs/simulator.md, "What it found". */
export const ONCE_MADE: readonly Mistake[] = [
  {
    name: 'a flush of its own that failed is told to nobody',
    way: { wire: 'queue', only: ['failed-flush', 'cut', 'power'] },
    plant: () => {
      const { add } = FlushTurns.prototype;
      return patch(FlushTurns.prototype, {
        add(this: FlushTurns<object>, flush: object) {
          add.call(this, 'isCaller' in flush ? Object.assign(flush, { isCaller: true }) : flush);
        },
      });
    },
  },
  {
    name: 'a flush that fails when its process is killed leaves no note',
    way: { wire: 'queue', only: ['doom', 'power'] },
    plant: () => patch(FlushNote.prototype, { during: (flush: () => Promise<void>) => flush() }),
  },
];

/** As these, but found by lives that are planned by hand: too much has to come together. */
export const FOUND_BY_HAND = [
  {
    name: 'a write is good though the last component left did not take it',
    plant: () => {
      const { settle } = Mirror.prototype;
      return patch(Mirror.prototype, {
        async settle(this: Mirror, ...args: Parameters<typeof settle>) {
          const error = await settle.apply(this, args);
          return args[2] > 0 ? null : error;
        },
      });
    },
  },
  {
    name: 'a connection that is lost is noticed when it is used',
    plant: () => {
      const { attach } = Component.prototype;
      return patch(Component.prototype, {
        attach(this: Component, media: ComponentMedia, ...rest: ['attachedCurrent' | 'attachedStale']) {
          attach.call(this, Object.create(media, { lost: { value: undefined } }) as ComponentMedia, ...rest);
        },
      });
    },
  },
  {
    name: 'a disk that hangs with nothing but its private area is waited for',
    plant: () => {
      const { attach } = Component.prototype;
      return patch(Component.prototype, {
        attach(this: Component, media: ComponentMedia, ...rest: ['attachedCurrent' | 'attachedStale']) {
          attach.call(
            this,
            Object.create(media, { oldestOfStore: { value: undefined } }) as ComponentMedia,
            ...rest,
          );
        },
      });
    },
  },
  {
    name: 'who comes back gets the log of an idle mirror',
    plant: () => {
      const { beginResync } = Journal.prototype;
      return patch(Journal.prototype, {
        async beginResync(this: Journal, component: Component) {
          if (!component.isConnected) return;
          const { store } = component;
          const { writeLog } = store;
          store.writeLog = () => writeLog.call(store, []);
          await beginResync.call(this, component).finally(() => Reflect.deleteProperty(store, 'writeLog'));
        },
      });
    },
  },
] as const satisfies readonly Mistake[];
