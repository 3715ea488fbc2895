import { RegionBitmap } from '../src/mirror/area/region-bitmap.js';
import { Component } from '../src/mirror/component.js';
import { type Mistake, patch } from './planted/mistake.js';

/** What is sent to it is not remembered. */
class Forgetful extends RegionBitmap {
  override mark(): void {
    // That is the mistake.
  }

  override union(): void {
    // So is that.
  }
}

/** What a life with a component that can't flush must show. */
export const PLAIN_BUG: Mistake = {
  name: 'what a component that can not flush was sent counts as flushed',
  way: { wire: 'queue', plain: true },
  plant: () => {
    // eslint-disable-next-line @typescript-eslint/unbound-method -- it is called with the component as this
    const { attach } = Component.prototype;
    return patch(Component.prototype, {
      attach(this: Component, ...args: Parameters<typeof attach>) {
        attach.apply(this, args);
        if (!this.can.flush) this.unflushed = new Forgetful(this.mediaSizeBytes);
      },
    });
  },
};
