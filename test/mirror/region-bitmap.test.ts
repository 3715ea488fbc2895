import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { BITMAP_PAGE_BYTES, BITMAP_PAGE_REGIONS, RegionBitmap } from '../../src/mirror/area/region-bitmap.js';
import { ProtocolError } from '../../src/protocol/errors.js';

const REGION = 65_536;
/** Three pages, the last of them with 1,000 regions, the last of those with a single sector. */
const REGIONS = 2 * BITMAP_PAGE_REGIONS + 1000;
const MEDIA_BYTES = (REGIONS - 1) * REGION + 512;

const bitmap = (marked: readonly number[] = []): RegionBitmap => {
  const made = new RegionBitmap(MEDIA_BYTES);
  for (const region of marked) made.markRegion(region);
  return made;
};

function markedOf(of: RegionBitmap): number[] {
  const marked: number[] = [];
  for (let region = of.nextMarked(0); region >= 0; region = of.nextMarked(region + 1)) marked.push(region);
  return marked;
}

/** What the bitmap is held against: the plainest thing that does the same. */
class Model {
  readonly marked = new Set<number>();
  readonly changed = new Set<number>();

  set(first: number, count: number, toMarked: boolean): void {
    for (let region = first; region < first + count; region++) {
      if (this.marked.has(region) === toMarked) continue;
      if (toMarked) this.marked.add(region);
      else this.marked.delete(region);
      this.changed.add(Math.floor(region / BITMAP_PAGE_REGIONS));
    }
  }

  sorted(): number[] {
    return [...this.marked].sort((one, other) => one - other);
  }
}

// Near the borders of words and pages, where mistakes are.
const region = fc.oneof(
  fc.integer({ min: 0, max: REGIONS - 1 }),
  fc.constantFrom(0, 31, 32, 63, REGIONS - 1, REGIONS - 2),
  fc.constantFrom(-33, -32, -1, 0, 1, 31, 32).map((off) => BITMAP_PAGE_REGIONS + off),
  fc.constantFrom(-1, 0).map((off) => 2 * BITMAP_PAGE_REGIONS + off),
);
const run = fc
  .tuple(region, fc.oneof(fc.integer({ min: 1, max: 200 }), fc.integer({ min: 1, max: 40_000 })))
  .map(([first, count]): [number, number] => [first, Math.min(count, REGIONS - first)]);

const step = fc.oneof(
  fc.record({ what: fc.constantFrom('mark', 'clear'), run: region.map((one): [number, number] => [one, 1]) }),
  fc.record({ what: fc.constantFrom('markRun', 'clearRun', 'range', 'union'), run }),
  fc.record({
    what: fc.constantFrom('take', 'clearAll', 'markPage'),
    run: fc.constant<[number, number]>([0, 1]),
  }),
);

function apply(of: RegionBitmap, model: Model, what: string, [first, count]: [number, number]): void {
  if (what === 'mark') of.markRegion(first);
  else if (what === 'clear') of.clear(first);
  else if (what === 'markRun') of.markRun(first, count);
  else if (what === 'clearRun') of.clearRun(first, count);
  else if (what === 'clearAll') of.clearAll();
  else if (what === 'markPage') of.markPage(2);
  else if (what === 'range') {
    // The last byte of the first region to the first one of the last.
    const offsetBytes = count > 1 ? (first + 1) * REGION - 1 : first * REGION;
    of.mark({ offsetBytes, lengthBytes: count > 1 ? (count - 2) * REGION + 2 : 1 });
  } else if (what === 'union') {
    const other = new RegionBitmap(MEDIA_BYTES);
    other.markRun(first, count);
    of.union(other);
  }
  const isClear = what.startsWith('clear');
  if (what === 'clearAll') model.set(0, REGIONS, false);
  else if (what === 'markPage') model.set(2 * BITMAP_PAGE_REGIONS, 1000, true);
  else if (what !== 'take') model.set(first, count, !isClear);
}

describe('a region bitmap', () => {
  test('does what a set of numbers does, through any sequence of changes', () => {
    const steps = fc.array(step, { minLength: 1, maxLength: 12 });
    fc.assert(
      fc.property(steps, region, fc.integer({ min: 1, max: 100 }), (done, from, regionsMax) => {
        const of = bitmap();
        const model = new Model();
        for (const { what, run: where } of done) {
          apply(of, model, what, where);
          of.checkInvariants();
          expect(of.countMarked).toBe(model.marked.size);
          if (what !== 'take') continue;
          expect(of.takeChangedPages()).toEqual([...model.changed].sort());
          model.changed.clear();
        }
        const marked = model.sorted();
        expect(markedOf(of)).toEqual(marked);
        expect(of.isMarked(from)).toBe(model.marked.has(from));
        const next = marked.find((one) => one >= from) ?? -1;
        expect(of.nextMarked(from)).toBe(next);
        let count = 0;
        while (next >= 0 && count < regionsMax && model.marked.has(next + count)) count += 1;
        expect(of.nextMarkedRun(from, regionsMax)).toEqual(
          next < 0 ? null : { firstRegion: next, regionCount: count },
        );
      }),
      { numRuns: 60 },
    );
  });

  test('is the same after its pages were written and loaded', () => {
    fc.assert(
      fc.property(fc.array(run, { maxLength: 5 }), (runs) => {
        const of = bitmap();
        for (const [first, count] of runs) of.markRun(first, count);
        // What was there before a page is loaded counts no more.
        const loaded = bitmap([5, BITMAP_PAGE_REGIONS + 5, REGIONS - 5]);
        loaded.takeChangedPages();
        const bytes = Buffer.alloc(BITMAP_PAGE_BYTES + 64, 0xee);
        for (let page = 0; page < of.pageCount; page++) {
          of.writePage(page, bytes, 64);
          loaded.loadPage(page, bytes, 64);
        }
        loaded.checkInvariants();
        expect(markedOf(loaded)).toEqual(markedOf(of));
        expect(loaded.takeChangedPages()).toEqual([]);
        expect(bytes.subarray(0, 64).equals(Buffer.alloc(64, 0xee))).toBe(true);
      }),
      { numRuns: 30 },
    );
  });

  test('puts region 0 into the lowest bit of the first byte, and region 9 into the second byte', () => {
    const bytes = Buffer.alloc(BITMAP_PAGE_BYTES);
    bitmap([0, 9, 31, BITMAP_PAGE_REGIONS - 1]).writePage(0, bytes, 0);
    expect([...bytes.subarray(0, 4)]).toEqual([1, 2, 0, 0x80]);
    expect(bytes[BITMAP_PAGE_BYTES - 1]).toBe(0x80);
    expect(bytes.reduce((sum, byte) => sum + byte, 0)).toBe(1 + 2 + 0x80 + 0x80);
  });

  test.each([1000, 1001, 1024, BITMAP_PAGE_REGIONS - 1])(
    'refuses a page that marks region %i of a last page with 1,000, and keeps what it had',
    (bit) => {
      const bytes = Buffer.alloc(BITMAP_PAGE_BYTES);
      bytes.writeUInt8(2 ** (bit % 8), Math.floor(bit / 8));
      const of = bitmap([REGIONS - 1]);
      expect(() => of.loadPage(2, bytes, 0)).toThrow(ProtocolError);
      expect(markedOf(of)).toEqual([REGIONS - 1]);
      of.checkInvariants();
      of.loadPage(1, bytes, 0);
      expect(markedOf(of)).toEqual([BITMAP_PAGE_REGIONS + bit, REGIONS - 1]);
    },
  );

  test.each([
    { what: 'a sector', offsetBytes: 65_536, lengthBytes: 512, marks: [1] },
    { what: 'a whole region', offsetBytes: 65_536, lengthBytes: 65_536, marks: [1] },
    { what: 'a sector on either side of a border', offsetBytes: 65_024, lengthBytes: 1024, marks: [0, 1] },
    { what: 'the end of the medium', offsetBytes: MEDIA_BYTES - 512, lengthBytes: 512, marks: [REGIONS - 1] },
  ])('marks every region that a write of $what touches', ({ marks, ...range }) => {
    const of = bitmap();
    of.mark(range);
    expect(markedOf(of)).toEqual(marks);
  });

  test('counts the bytes of the medium, not those behind its end', () => {
    expect(bitmap().markedBytes).toBe(0);
    expect(bitmap([0, 7]).markedBytes).toBe(2 * REGION);
    expect(bitmap([0, REGIONS - 1]).markedBytes).toBe(REGION + 512);
    const all = bitmap();
    all.markAll();
    expect(all.markedBytes).toBe(MEDIA_BYTES);
    expect(new RegionBitmap(2 * REGION).markedBytes).toBe(0);
  });

  test('tells each changed page once, and again when it could not be stored', () => {
    const of = bitmap([BITMAP_PAGE_REGIONS, 3, 4]);
    expect(of.takeChangedPages()).toEqual([0, 1]);
    of.markRegion(3);
    of.clear(9);
    expect(of.takeChangedPages()).toEqual([]);
    of.retakePage(1);
    of.clear(3);
    expect(of.takeChangedPages()).toEqual([0, 1]);
  });

  test.each([
    ['marked in front of it', (of: RegionBitmap) => of.markRegion(-1)],
    ['marked behind it', (of: RegionBitmap) => of.markRegion(REGIONS)],
    ['written behind it', (of: RegionBitmap) => of.mark({ offsetBytes: MEDIA_BYTES, lengthBytes: 65_536 })],
    ['cleared behind it', (of: RegionBitmap) => of.clearRun(REGIONS - 1, 2)],
    ['taken from another medium', (of: RegionBitmap) => of.union(new RegionBitmap(MEDIA_BYTES + 512))],
    ['a page that it does not have', (of: RegionBitmap) => of.retakePage(3)],
  ])('takes it for a bug when the medium does not have what is %s', (_, act) => {
    expect(() => act(bitmap())).toThrow(/^bug: region bitmap/);
  });

  test('knows nothing marked behind its end, where searches may look', () => {
    const of = bitmap([REGIONS - 1]);
    expect(of.isMarked(REGIONS)).toBe(false);
    expect(of.nextMarked(REGIONS)).toBe(-1);
    expect(of.nextMarkedRun(REGIONS - 1, 8)).toEqual({ firstRegion: REGIONS - 1, regionCount: 1 });
  });
});

describe('a region bitmap of 4 TiB', () => {
  const TIB = 2 ** 40;
  /** Memory outside the heap, where the words are; exact, unlike the heap's. */
  const wordBytes = (): number => process.memoryUsage().arrayBuffers;

  test('takes a page of 4 KiB for each 2 GiB that have anything marked', () => {
    const before = wordBytes();
    const of = new RegionBitmap(4 * TIB);
    for (let at = 0; at < 100; at++) of.mark({ offsetBytes: at * 40 * 2 ** 30, lengthBytes: 4096 });
    expect(of.regionCount).toBe(67_108_864);
    expect(of.countMarked).toBe(100);
    expect(wordBytes() - before).toBeLessThan(1_048_576);
  });

  test('takes about 8 MiB when all of it is marked', () => {
    const before = wordBytes();
    const of = new RegionBitmap(4 * TIB);
    of.markAll();
    expect(of.countMarked).toBe(67_108_864);
    expect(wordBytes() - before).toBeLessThan(9 * 1_048_576);
  });

  test('finds a single region at its end', () => {
    const of = new RegionBitmap(4 * TIB);
    of.markRegion(67_108_863);
    expect(of.nextMarked(0)).toBe(67_108_863);
  });

  test('has regions beyond what 31 bits can count', () => {
    const of = new RegionBitmap(256 * TIB);
    of.mark({ offsetBytes: 256 * TIB - 512, lengthBytes: 512 });
    expect(of.nextMarked(2 ** 31 + 1)).toBe(2 ** 32 - 1);
    expect(of.isMarked(2 ** 32 - 1)).toBe(true);
    of.clear(2 ** 32 - 1);
    of.checkInvariants();
    expect(of.countMarked).toBe(0);
  });
});
