import { expect, test } from 'vitest';
import { crc32c } from '../../src/protocol/crc32c.js';
import { checksumRegions, checksumsBytes } from '../../src/protocol/region-checksums.js';
import { SeededRandom } from '../support/seeded-random.js';
import { sealed } from '../support/sealed-block.js';

test('the checksums of regions are the first bytes of their SHA-256, the last region may be short', () => {
  const into = Buffer.alloc(checksumsBytes(65_537) + 2, 0xee);
  expect(checksumRegions(Buffer.alloc(65_537), into, 1)).toBe(16);
  // The SHA-256 of 65,536 zeros, and of one, as sha256sum tells them.
  expect(into.toString('hex')).toBe('eede2f256064a0af796e340b9cffb37a98ee');
});

test('the CRC of blocks that end with their own CRC says nothing, the checksum of a region does', () => {
  const random = new SeededRandom(1);
  const regions = Array.from({ length: 8 }, () =>
    Buffer.concat(Array.from({ length: 16 }, () => sealed(random.bytes(4096)))),
  );
  expect(new Set(regions.map((region) => crc32c(region))).size).toBe(1);
  const sums = regions.map((region) => {
    const sum = Buffer.alloc(8);
    checksumRegions(region, sum, 0);
    return sum.toString('hex');
  });
  expect(new Set(sums).size).toBe(regions.length);
});
