import fc from 'fast-check';
import { expect, test } from 'vitest';
import { PayloadRing } from '../../../src/device/disk-thread/payload-ring.js';

interface Piece {
  readonly at: number;
  readonly lengthBytes: number;
}

const overlaps = (a: Piece, b: Piece): boolean => a.at < b.at + b.lengthBytes && b.at < a.at + a.lengthBytes;

test('pieces never overlap, lie inside and like their other side, whatever is taken and given back', () => {
  const step = fc.oneof(
    fc.record({ lengthBytes: fc.integer({ min: 1, max: 600 }), likeAt: fc.nat(100) }),
    fc.constant('release' as const),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const ring = new PayloadRing(1024);
      const out: Piece[] = [];
      for (const each of steps) {
        if (each === 'release') {
          const first = out.shift();
          if (first !== undefined) ring.release(first.at, first.lengthBytes);
          continue;
        }
        const at = ring.take(each.lengthBytes, each.likeAt);
        // With nothing out, all is free.
        if (out.length === 0) expect(at).not.toBe(-1);
        if (at === -1) continue;
        const piece = { at, lengthBytes: each.lengthBytes };
        expect(at % 8).toBe(each.likeAt % 8);
        expect(at).toBeGreaterThanOrEqual(0);
        expect(at + each.lengthBytes).toBeLessThanOrEqual(1024);
        expect(out.some((other) => overlaps(other, piece))).toBe(false);
        out.push(piece);
      }
    }),
  );
});

test('it is used to its end, goes on at its front, and is full in between', () => {
  const ring = new PayloadRing(1024);
  const places = Array.from({ length: 5 }, () => ring.take(256, 0));
  expect(places).toEqual([0, 256, 512, 768, -1]);
  ring.release(0, 256);
  expect(ring.take(128, 0)).toBe(0);
  expect(ring.take(128, 0)).toBe(-1);
  ring.release(256, 256);
  expect(ring.take(128, 0)).toBe(128);
});

test('it starts at its front again when everything is back', () => {
  const ring = new PayloadRing(1024);
  ring.release(ring.take(512, 0), 512);
  expect(ring.take(1024, 0)).toBe(0);
});

test('giving back what was never taken is a bug', () => {
  expect(() => new PayloadRing(1024).release(0, 64)).toThrow(/^bug: /);
});
