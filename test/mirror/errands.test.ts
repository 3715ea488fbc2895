import { describe, expect, test } from 'vitest';
import type { ComponentIo } from '../../src/mirror/component.js';
import { Errand, Errands, type ErrandOwner } from '../../src/mirror/errands.js';
import { SeededRandom } from '../support/seeded-random.js';

const component = { can: { writeZeroes: true } } as ErrandOwner<ComponentIo>;
const io: ComponentIo = {
  op: 'write',
  offsetBytes: 0,
  lengthBytes: 512,
  buffer: Buffer.alloc(512),
  bufferAt: 0,
  answered: () => undefined,
};
const errand = (): Errand<ComponentIo> => new Errand(component, io);

describe('the requests under way to a component', () => {
  test('stay in the order of their start, whichever of them end', () => {
    const random = new SeededRandom(7);
    const errands = new Errands<ComponentIo>();
    let model: Errand<ComponentIo>[] = [];
    for (let step = 0; step < 2000; step++) {
      const ending = model[random.below(8)];
      if (ending === undefined) {
        const added = errand();
        errands.add(added);
        model.push(added);
      } else {
        expect(errands.remove(ending)).toBe(true);
        expect(errands.remove(ending)).toBe(false);
        // One that is gone leads to no other.
        expect([ending.older, ending.newer]).toEqual([null, null]);
        model = model.filter((one) => one !== ending);
      }
      expect(errands.count).toBe(model.length);
      const all = errands.all();
      expect(all.length).toBe(model.length);
      expect(all.every((one, index) => one === model[index])).toBe(true);
    }
  });

  test('can be taken out together, and are not there any more', () => {
    const errands = new Errands<ComponentIo>();
    const three = [errand(), errand(), errand()];
    for (const one of three) errands.add(one);
    expect(errands.takeAll()).toEqual(three);
    expect(errands.count).toBe(0);
    expect(three.map((one) => errands.remove(one))).toEqual([false, false, false]);
  });

  test('count their time from the first look at them', () => {
    const errands = new Errands<ComponentIo>();
    expect(errands.look(1000)).toBe(0);
    const [first, second] = [errand(), errand()];
    errands.add(first);
    expect(errands.look(1500)).toBe(0);
    errands.add(second);
    expect(errands.look(2000)).toBe(500);
    expect(errands.look(9000)).toBe(7500);
    errands.remove(first);
    expect(errands.look(9500)).toBe(7500);
    errands.remove(second);
    expect(errands.look(10_000)).toBe(0);
  });
});
