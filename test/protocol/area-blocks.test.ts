import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  BITMAP_BITS_BYTES,
  decodeBitmap,
  encodeBitmap,
  type BitmapPlace,
} from '../../src/protocol/area-bitmap.js';
import {
  AREA_KIND,
  areaIdOf,
  blockState,
  newBlock,
  sealBlock,
  sequenceOf,
} from '../../src/protocol/area-block.js';
import { BITMAP_BLOCK_REGIONS } from '../../src/protocol/area-layout.js';
import { LOG_EXTENTS_MAX, decodeLog, encodeLog } from '../../src/protocol/area-log.js';
import { crc32c } from '../../src/protocol/crc32c.js';
import { ProtocolError } from '../../src/protocol/errors.js';
import {
  FREE_SLOT,
  HISTORY_COUNT,
  NO_UUID,
  SLOT_COUNT,
  decodeSuperblock,
  encodeSuperblock,
  type Superblock,
} from '../../src/protocol/superblock.js';
import { BITMAP_PAGE_BYTES, BITMAP_PAGE_REGIONS } from '../../src/mirror/area/region-bitmap.js';
import { newSuperblock, uuidOf } from '../support/area-model.js';

const areaId = Buffer.from('1122334455667788', 'hex');
const otherArea = Buffer.from('8877665544332211', 'hex');
const log = (sequence = 1): Buffer => encodeLog({ sequence, areaId, extents: [1, 2, 1000] });

/** A block whose bytes were changed by someone who knows how to seal it. */
function forged(block: Buffer, change: (copy: Buffer) => void): Buffer {
  const copy = Buffer.from(block);
  change(copy);
  return sealBlock(copy);
}

describe('a block', () => {
  test('has its header where the format says, and the checksum of itself with zeros in its place', () => {
    const block = log(0x0102030405);
    expect(block.toString('latin1', 0, 8)).toBe('GGMIRLOG');
    expect(block.readUInt32LE(8)).toBe(1);
    expect(block.readBigUInt64LE(16)).toBe(0x0102030405n);
    expect(block.subarray(24, 32)).toEqual(areaId);
    const crc = block.readUInt32LE(12);
    const zeroed = Buffer.from(block);
    zeroed.writeUInt32LE(0, 12);
    expect(crc).toBe(crc32c(zeroed));
    expect([sequenceOf(block), areaIdOf(block)]).toEqual([0x0102030405, areaId]);
  });

  test.each([
    { what: 'as it was written', block: log(), state: 'valid' },
    { what: 'of zeros', block: Buffer.alloc(4096), state: 'empty' },
    {
      what: 'of another area',
      block: encodeLog({ sequence: 9, areaId: otherArea, extents: [] }),
      state: 'empty',
    },
    {
      what: 'of another kind',
      block: newBlock({ kind: AREA_KIND.bitmap, sequence: 1, areaId }),
      state: 'damaged',
    },
    {
      what: 'of another version',
      block: forged(log(), (copy) => copy.writeUInt32LE(2, 8)),
      state: 'damaged',
    },
    {
      what: 'with sequence number 0',
      block: forged(log(), (copy) => copy.fill(0, 16, 24)),
      state: 'damaged',
    },
    { what: 'with no next number', block: forged(log(), (copy) => copy.fill(255, 16, 24)), state: 'damaged' },
    { what: 'of noise', block: Buffer.alloc(4096, 0xa5), state: 'damaged' },
  ])('$what is $state', ({ block, state }) => expect(blockState(block, AREA_KIND.log, areaId)).toBe(state));

  test('with any bit turned over is damaged', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 4095 }), fc.integer({ min: 1, max: 255 }), (at, change) => {
        const block = log();
        block[at] = ((block[at] ?? 0) + change) % 256;
        expect(blockState(block, AREA_KIND.log, areaId)).toBe('damaged');
      }),
    );
  });

  test('with any sectors of another version is damaged', () => {
    const one = encodeLog({
      sequence: 1,
      areaId,
      extents: Array.from({ length: 1000 }, (_, index) => index),
    });
    const two = encodeLog({
      sequence: 2,
      areaId,
      extents: Array.from({ length: 1000 }, (_, index) => index + 7),
    });
    for (let mix = 1; mix < 255; mix++) {
      const torn = Buffer.from(one);
      for (let sector = 0; sector < 8; sector++) {
        const isNew = Math.floor(mix / 2 ** sector) % 2 === 1;
        if (isNew) two.copy(torn, sector * 512, sector * 512, (sector + 1) * 512);
      }
      // The last sector of both is zeros, so one mix is the whole new block and one the whole old one.
      if (torn.equals(one) || torn.equals(two)) continue;
      expect(blockState(torn, AREA_KIND.log, areaId), `mix=${mix}`).toBe('damaged');
    }
  });
});

describe('a log block', () => {
  test('gives back the extents that it was made of', () => {
    const extents = fc
      .uniqueArray(fc.integer({ min: 0, max: 2 ** 32 - 1 }), { maxLength: LOG_EXTENTS_MAX })
      .map((list) => list.sort((one, other) => one - other));
    fc.assert(
      fc.property(extents, (list) => {
        const block = encodeLog({ sequence: 7, areaId, extents: list });
        expect(blockState(block, AREA_KIND.log, areaId)).toBe('valid');
        expect(decodeLog(block, 2 ** 32)).toEqual(list);
      }),
    );
  });

  test.each([
    { what: 'more extents than fit', at: 32, value: LOG_EXTENTS_MAX + 1 },
    { what: 'an extent twice', at: 68, value: 1 },
    { what: 'a wrong order', at: 64, value: 3 },
    { what: 'an extent behind the end', at: 72, value: 1001 },
  ])('with $what is refused', ({ at, value }) => {
    expect(() =>
      decodeLog(
        forged(log(), (copy) => copy.writeUInt32LE(value, at)),
        1001,
      ),
    ).toThrow(ProtocolError);
  });

  test('holds as many extents as the format says and no more', () => {
    const all = Array.from({ length: LOG_EXTENTS_MAX }, (_, index) => index);
    expect(decodeLog(encodeLog({ sequence: 1, areaId, extents: all }), 1000)).toEqual(all);
    expect(() => encodeLog({ sequence: 1, areaId, extents: [...all, 1000] })).toThrow(/more than 1000/);
    expect(() => encodeLog({ sequence: 1, areaId, extents: [2, 1] })).toThrow(/ascending/);
  });
});

describe('a bitmap block', () => {
  const place: BitmapPlace = { slot: 3, index: 5, regionCount: BITMAP_BLOCK_REGIONS };
  const bitsOf = fc.uint8Array({ minLength: BITMAP_BITS_BYTES, maxLength: BITMAP_BITS_BYTES });

  test('holds what one page of a region bitmap holds', () => {
    expect([BITMAP_BITS_BYTES, BITMAP_BLOCK_REGIONS]).toEqual([BITMAP_PAGE_BYTES, BITMAP_PAGE_REGIONS]);
  });

  test('gives back its bits, but for those behind the last region', () => {
    fc.assert(
      fc.property(bitsOf, fc.integer({ min: 1, max: BITMAP_BLOCK_REGIONS }), (bytes, regionCount) => {
        const bits = Buffer.from(bytes);
        const block = encodeBitmap({ ...place, regionCount }, { sequence: 1, areaId, bits });
        const found = decodeBitmap({ ...place, regionCount }, block);
        const at = Math.floor(regionCount / 8);
        expect(found.subarray(0, at)).toEqual(bits.subarray(0, at));
        expect(found[at] ?? 0).toBe((bits[at] ?? 0) % 2 ** (regionCount % 8));
        expect(found.subarray(at + 1).every((byte) => byte === 0)).toBe(true);
        // Bits that another program left behind the end are not looked at.
        const loose = forged(block, (copy) => bits.copy(copy, 64));
        expect(decodeBitmap({ ...place, regionCount }, loose)).toEqual(found);
      }),
    );
  });

  test('is refused in another place', () => {
    const block = encodeBitmap(place, { sequence: 1, areaId, bits: Buffer.alloc(BITMAP_BITS_BYTES, 1) });
    expect([block.readUInt32LE(32), block.readUInt32LE(36), block[64]]).toEqual([3, 5, 1]);
    expect(() => decodeBitmap({ ...place, slot: 2 }, block)).toThrow(/another place/);
    expect(() => decodeBitmap({ ...place, index: 4 }, block)).toThrow(/another place/);
  });
});

describe('a superblock', () => {
  const uuid = fc
    .uint8Array({ minLength: 16, maxLength: 16 })
    .map((bytes) => Buffer.from(bytes).toString('hex'));
  const used = uuid.filter((text) => text !== NO_UUID);
  const u32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });
  const arbitrary: fc.Arbitrary<Superblock> = fc
    .record({
      sequence: fc.integer({ min: 1, max: 2 ** 52 }),
      mirrorUuid: uuid,
      name: fc
        .string({ unit: 'grapheme', maxLength: 12 })
        .filter((text) => !text.includes('\0') && Buffer.byteLength(text) < 64),
      mediaSectors: fc.integer({ min: 1, max: 2 ** 40 }),
      sectorSizeBytes: fc.constantFrom(512, 1024, 2048, 4096),
      sizes: fc.tuple(u32, u32, u32, u32),
      isRunning: fc.boolean(),
      isInconsistent: fc.boolean(),
      current: uuid,
      history: fc.array(used, { maxLength: HISTORY_COUNT }),
      slot: fc.integer({ min: 0, max: SLOT_COUNT - 1 }),
      genid: u32,
      syncid: u32,
      modifiedNs: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      uuids: fc.uniqueArray(used, { minLength: SLOT_COUNT, maxLength: SLOT_COUNT }),
      flags: fc.array(fc.tuple(fc.boolean(), fc.boolean(), uuid), {
        minLength: SLOT_COUNT,
        maxLength: SLOT_COUNT,
      }),
    })
    .map(({ mediaSectors, sizes, uuids, flags, ...rest }) => ({
      ...rest,
      areaId,
      componentUuid: uuids[rest.slot] ?? NO_UUID,
      mediaSizeBytes: mediaSectors * rest.sectorSizeBytes,
      regionSizeBytes: sizes[0],
      extentSizeBytes: sizes[1],
      logBlockCount: sizes[2],
      bitmapBlockCount: sizes[3],
      slots: flags.map(([isMarked, isFull, lostAt], index) =>
        isFull && index !== rest.slot && index % 2 === 0
          ? FREE_SLOT
          : {
              componentUuid: uuids[index] ?? NO_UUID,
              lostAt,
              isMarked,
              isFull,
              isInactive: isMarked,
              isUnheard: isFull,
            },
      ),
    }));
  const whole = (): Superblock => ({
    ...newSuperblock(),
    sequence: 1,
    logBlockCount: 16,
    bitmapBlockCount: 3,
  });

  test('gives back everything that it was made of', () => {
    fc.assert(
      fc.property(arbitrary, (superblock) => {
        const block = encodeSuperblock(superblock);
        expect(blockState(block, AREA_KIND.superblock, null)).toBe('valid');
        expect(decodeSuperblock(block)).toEqual(superblock);
      }),
    );
  });

  test('has its fields where the format says', () => {
    const slots = whole().slots.with(1, {
      componentUuid: uuidOf(7),
      lostAt: uuidOf(8),
      isMarked: true,
      isFull: true,
      isInactive: true,
      isUnheard: true,
    });
    const block = encodeSuperblock({
      ...whole(),
      isInconsistent: true,
      history: [uuidOf(5)],
      genid: 21,
      syncid: 22,
      modifiedNs: 23n,
      slots,
    });
    const hex = (at: number): string => block.toString('hex', at, at + 16);
    expect([hex(32), hex(48), hex(160), hex(176)]).toEqual([
      uuidOf(0xa0),
      uuidOf(0xc0),
      uuidOf(1),
      uuidOf(5),
    ]);
    expect(block.toString('latin1', 64, 69)).toBe('data\0');
    expect(block.readBigUInt64LE(128)).toBe(5n * 2n ** 30n);
    const words = [136, 140, 144, 148, 152, 156, 304, 308, 312].map((at) => block.readUInt32LE(at));
    expect(words).toEqual([512, 65_536, 4_194_304, 16, 3, 2, 0, 21, 22]);
    expect(block.readBigUInt64LE(320)).toBe(23n);
    expect([hex(400), hex(416), block.readUInt32LE(432)]).toEqual([uuidOf(7), uuidOf(8), 15]);
  });

  test.each([
    { what: 'a slot that is none', change: (copy: Buffer) => copy.writeUInt32LE(8, 304) },
    { what: "another component's slot", change: (copy: Buffer) => copy.writeUInt32LE(1, 304) },
    { what: 'no component', change: (copy: Buffer) => copy.fill(0, 48, 64).fill(0, 336, 352) },
    { what: 'a component twice', change: (copy: Buffer) => copy.copy(copy, 400, 336, 352) },
    { what: 'a name without an end', change: (copy: Buffer) => copy.fill('x', 64, 128) },
    { what: 'a name that is no text', change: (copy: Buffer) => copy.fill(0xff, 64, 127) },
    { what: 'a media size of 2^53', change: (copy: Buffer) => copy.writeBigUInt64LE(2n ** 53n, 128) },
    { what: 'a media size of half a sector', change: (copy: Buffer) => copy.writeBigUInt64LE(256n, 128) },
    { what: 'no media', change: (copy: Buffer) => copy.writeBigUInt64LE(0n, 128) },
    { what: 'sectors of no bytes', change: (copy: Buffer) => copy.writeUInt32LE(0, 136) },
    { what: 'sectors of 8,192 bytes', change: (copy: Buffer) => copy.writeUInt32LE(8192, 136) },
  ])('with $what is refused', ({ change }) => {
    const block = forged(encodeSuperblock(whole()), change);
    expect(() => decodeSuperblock(block)).toThrow(ProtocolError);
  });

  test('of any bytes that are sealed is read or refused, and can be written again if it was read', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 816, maxLength: 816 }), fc.boolean(), (bytes, isPlausible) => {
        const noise = forged(encodeSuperblock(whole()), (copy) => {
          Buffer.from(bytes).copy(copy, isPlausible ? 352 : 32, 0, isPlausible ? 496 : 816);
        });
        let superblock: Superblock;
        try {
          superblock = decodeSuperblock(noise);
        } catch (error) {
          expect(error).toBeInstanceOf(ProtocolError);
          return;
        }
        expect(decodeSuperblock(encodeSuperblock(superblock))).toEqual(superblock);
      }),
    );
  });
});
