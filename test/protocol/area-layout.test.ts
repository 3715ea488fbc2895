import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  AREA_HEAD_BYTES,
  MEDIA_BYTES_MAX,
  areaOffsetBytes,
  areaSizeBytes,
  bitmapBlockCount,
  bitmapPairAt,
  extentCount,
  logBlockAt,
  mediaSizeFor,
  regionsOfBlock,
  superblockAt,
} from '../../src/protocol/area-layout.js';
import { SLOT_COUNT } from '../../src/protocol/superblock.js';

const TIB = 2 ** 40;
const sectorBytes = fc.constantFrom(512, 1024, 2048, 4096);

describe('the private area', () => {
  test.each([
    { what: 'one sector', media: 512, n: 1, extents: 1, lastRegions: 1, size: 34 * 4096 },
    {
      what: 'one full bitmap block',
      media: 32_256 * 65_536,
      n: 1,
      extents: 504,
      lastRegions: 32_256,
      size: 34 * 4096,
    },
    {
      what: 'a byte more',
      media: 32_256 * 65_536 + 512,
      n: 2,
      extents: 505,
      lastRegions: 1,
      size: 50 * 4096,
    },
    { what: '4 TiB', media: 4 * TIB, n: 2081, extents: 1_048_576, lastRegions: 16_384, size: 33_314 * 4096 },
  ])('of $what has the size that the format says', ({ media, n, extents, lastRegions, size }) => {
    expect(bitmapBlockCount(media)).toBe(n);
    expect(extentCount(media)).toBe(extents);
    expect(regionsOfBlock(media, n - 1)).toBe(lastRegions);
    expect(areaSizeBytes(media)).toBe(size);
  });

  test('has everything in its place', () => {
    expect([superblockAt(0), superblockAt(1), logBlockAt(0), logBlockAt(15)]).toEqual([
      0, 4096, 8192, 69_632,
    ]);
    expect(AREA_HEAD_BYTES).toBe(73_728);
    const media = 3 * 32_256 * 65_536;
    expect(bitmapPairAt(media, 0, 0)).toBe(73_728);
    expect(bitmapPairAt(media, 0, 2)).toBe(73_728 + 2 * 8192);
    expect(bitmapPairAt(media, 1, 0)).toBe(73_728 + 3 * 8192);
    expect(bitmapPairAt(media, SLOT_COUNT - 1, 2) + 8192).toBe(areaSizeBytes(media));
    expect([0, 1, 4095, 4096, 4097].map(areaOffsetBytes)).toEqual([0, 4096, 4096, 4096, 8192]);
  });
});

const needs = (media: number, sector: number): number =>
  areaOffsetBytes(media) + areaSizeBytes(media) + sector;

describe('the media size of a provider', () => {
  test('is the largest multiple of 4,096 with which data, area and label fit', () => {
    const size = fc.oneof(
      fc.integer({ min: 36 * 8, max: 2 ** 22 }),
      fc.integer({ min: 36 * 8, max: 2 ** 36 }),
      // Around the sizes where another pair of blocks is needed in each slot.
      fc
        .integer({ min: 1, max: 2000 })
        .chain((pairs) =>
          fc.integer({ min: -40, max: 40 }).map((blocks) => (pairs * (516_096 + 16) + 18 + blocks) * 8),
        ),
    );
    fc.assert(
      fc.property(size, sectorBytes, (sectors512, sector) => {
        const provider = Math.floor((sectors512 * 512) / sector) * sector;
        const media = mediaSizeFor(provider, sector);
        expect(media % 4096).toBe(0);
        expect(media).toBeGreaterThan(0);
        if (media < MEDIA_BYTES_MAX) {
          expect(needs(media, sector)).toBeLessThanOrEqual(provider);
          expect(needs(media + 4096, sector)).toBeGreaterThan(provider);
        }
      }),
      { numRuns: 2000 },
    );
  });

  test('of a provider that is too small, or has sectors that are too large, is refused with the reason', () => {
    const least = 35 * 4096 + 512;
    expect(mediaSizeFor(least, 512)).toBe(4096);
    expect(() => mediaSizeFor(least - 512, 512)).toThrow(/143360 bytes are too few/);
    expect(() => mediaSizeFor(0, 512)).toThrow(/too few/);
    expect(() => mediaSizeFor(TIB, 8192)).toThrow(/sectors of 8192 bytes/);
    expect(mediaSizeFor(1024 * TIB, 4096)).toBe(MEDIA_BYTES_MAX);
  });
});
