import { describe, expect, test } from 'vitest';
import { Extents } from '../../../src/cli/copy/extents.js';
import { WorkList } from '../../../src/cli/copy/work-list.js';
import type { ByteRange } from '../../../src/protocol/geometry.js';

const range = (offsetBytes: number, lengthBytes: number): ByteRange => ({ offsetBytes, lengthBytes });

/** As 'data 0+4', 'hole 4+12'. */
function walk(data: readonly ByteRange[], part: ByteRange, holeBytesMax = 8): string[] {
  const work = new WorkList({ range: part, chunkBytes: 4, holeBytesMax, extents: new Extents(data) });
  const chunks: string[] = [];
  for (let at = work.next(); at >= 0; at = work.next()) {
    chunks.push(`${work.isHole ? 'hole' : 'data'} ${at}+${work.lengthBytes}`);
  }
  return chunks;
}

describe('the work list of a copy', () => {
  test.each([
    { what: 'data only', data: [range(0, 10)], chunks: ['data 0+4', 'data 4+4', 'data 8+2'] },
    { what: 'a hole only, in pieces', data: [], chunks: ['hole 0+8', 'hole 8+2'] },
    { what: 'a hole before data', data: [range(8, 2)], chunks: ['hole 0+8', 'data 8+2'] },
    { what: 'a hole behind data', data: [range(0, 4)], chunks: ['data 0+4', 'hole 4+6'] },
    { what: 'data inside a chunk', data: [range(5, 1)], chunks: ['hole 0+4', 'data 4+4', 'hole 8+2'] },
    {
      what: 'a hole smaller than a chunk',
      data: [range(0, 2), range(6, 4)],
      chunks: ['data 0+4', 'data 4+4', 'data 8+2'],
    },
  ])('hands out $what in order and without gaps', ({ data, chunks }) => {
    expect(walk(data, range(0, 10))).toEqual(chunks);
  });

  test('starts inside the medium', () => {
    expect(walk([range(0, 100)], range(96, 4))).toEqual(['data 96+4']);
    expect(walk([range(0, 4)], range(8, 8))).toEqual(['hole 8+8']);
  });

  test('has nothing to do in an empty range', () => {
    expect(walk([range(0, 8)], range(8, 0))).toEqual([]);
  });
});

describe('what is known of a medium’s holes', () => {
  const ask = (ranges: readonly ByteRange[]) => (fromBytes: number) => {
    const found = ranges.find((one) => one.offsetBytes + one.lengthBytes > fromBytes) ?? null;
    return Promise.resolve(found);
  };

  test('joins data across small gaps and keeps large ones', async () => {
    const extents = await Extents.load(ask([range(0, 10), range(12, 8), range(60, 10)]), 100, 4);
    expect(extents?.nextData(0)).toEqual(range(0, 20));
    expect(extents?.nextData(20)).toEqual(range(60, 10));
    expect(extents?.nextData(70)).toBeNull();
    expect(extents?.dataBytes).toBe(30);
  });

  test('a range is zero only if no byte of it may be data', async () => {
    const extents = await Extents.load(ask([range(16, 16), range(64, 16)]), 100, 4);
    expect([
      extents?.isZero(0, 16),
      extents?.isZero(0, 17),
      extents?.isZero(31, 1),
      extents?.isZero(32, 32),
    ]).toEqual([true, false, false, true]);
  });

  test('nothing is known when asking fails', async () => {
    expect(await Extents.load(() => Promise.reject(new Error('no')), 100, 4)).toBeNull();
  });

  test('data beyond the medium is no data of it', async () => {
    const extents = await Extents.load(ask([range(50, 100)]), 100, 4);
    expect(extents?.nextData(0)).toEqual(range(50, 50));
  });
});
