import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type RangeHolder, RangeLocks } from '../../src/mirror/range-locks.js';

class Holder implements RangeHolder {
  isGranted = false;
  constructor(
    readonly name: number,
    readonly offsetBytes: number,
    readonly lengthBytes: number,
    private readonly onGrant: (holder: Holder) => void = () => undefined,
  ) {}
  granted(): void {
    this.isGranted = true;
    this.onGrant(this);
  }
}

const touch = (one: Holder, other: Holder): boolean =>
  one.offsetBytes < other.offsetBytes + other.lengthBytes &&
  other.offsetBytes < one.offsetBytes + one.lengthBytes;

describe('range locks', () => {
  test('let ranges side by side be held together', () => {
    const locks = new RangeLocks();
    expect(locks.acquire(new Holder(1, 0, 512))).toBe(true);
    expect(locks.acquire(new Holder(2, 512, 512))).toBe(true);
  });

  test('make a range wait for the one that it overlaps', () => {
    const locks = new RangeLocks();
    const first = new Holder(1, 0, 1024);
    const second = new Holder(2, 512, 1024);
    locks.acquire(first);
    expect(locks.acquire(second)).toBe(false);
    locks.release(first);
    expect(second.isGranted).toBe(true);
  });

  test('do not let a late small one past an early large one that it overlaps', () => {
    const locks = new RangeLocks();
    const held = new Holder(1, 0, 512);
    const large = new Holder(2, 0, 4096);
    const small = new Holder(3, 2048, 512);
    locks.acquire(held);
    expect(locks.acquire(large)).toBe(false);
    expect(locks.acquire(small)).toBe(false);
    locks.release(held);
    expect([large.isGranted, small.isGranted]).toEqual([true, false]);
    locks.release(large);
    expect(small.isGranted).toBe(true);
  });

  test('grant overlapping ranges in the order of asking, never two at once, and in the end all', () => {
    const range = fc.record({ offsetBytes: fc.nat(20), lengthBytes: fc.integer({ min: 1, max: 8 }) });
    fc.assert(
      fc.property(
        fc.array(range, { minLength: 1, maxLength: 40 }),
        fc.array(fc.nat(100)),
        (ranges, choices) => {
          const locks = new RangeLocks();
          const held: Holder[] = [];
          const order: Holder[] = [];
          const onGrant = (holder: Holder): void => {
            expect(held.some((other) => touch(other, holder))).toBe(false);
            held.push(holder);
            order.push(holder);
          };
          let turn = 0;
          const releaseOne = (): void => {
            const [holder] = held.splice(
              (choices[turn++ % Math.max(1, choices.length)] ?? 0) % held.length,
              1,
            );
            if (holder !== undefined) locks.release(holder);
          };
          ranges.forEach(({ offsetBytes, lengthBytes }, index) => {
            const holder = new Holder(index, offsetBytes, lengthBytes, onGrant);
            if (locks.acquire(holder)) onGrant(holder);
            if ((choices[index % Math.max(1, choices.length)] ?? 0) % 3 === 0 && held.length > 0)
              releaseOne();
          });
          while (held.length > 0) releaseOne();
          expect(order).toHaveLength(ranges.length);
          order.forEach((later, at) => {
            for (const earlier of order.slice(0, at))
              if (touch(earlier, later)) expect(earlier.name).toBeLessThan(later.name);
          });
          expect([locks.heldCount, locks.waitingCount]).toEqual([0, 0]);
        },
      ),
    );
  });
});
