import { describe, expect, test } from 'vitest';
import { AreaStore } from '../../src/mirror/area/area-store.js';
import { AREA_HEAD_BYTES, areaSizeBytes, bitmapPairAt, logBlockAt } from '../../src/protocol/area-layout.js';
import { encodeSuperblock } from '../../src/protocol/superblock.js';
import { AREA_MEDIA_BYTES, AreaModel, bitmapSaying, newSuperblock, pageSays } from '../support/area-model.js';
import { FaultDevice } from '../support/fault-device.js';
import { MemoryDevice } from '../support/memory-device.js';
import { SeededRandom } from '../support/seeded-random.js';
import { VolatileDevice } from '../support/volatile-device.js';

const AREA_BYTES = areaSizeBytes(AREA_MEDIA_BYTES);
const BLOCK_BYTES = 4096;
const BLOCKS = AREA_BYTES / BLOCK_BYTES;
const USUAL = { flush: 0.6, reopen: 0, kinds: ['superblock', 'log', 'log', 'bitmap', 'bitmap'] } as const;

interface Written {
  readonly medium: Buffer;
  readonly model: AreaModel;
}

/** An area that has seen some use and was left in peace. */
async function writtenArea(seed: number): Promise<Written> {
  const device = new MemoryDevice({ mediaSizeBytes: AREA_BYTES });
  const store = await AreaStore.create(device, 0, newSuperblock());
  const model = AreaModel.fresh();
  const random = new SeededRandom(seed);
  for (let step = 0; step < 40; step++) await model.step(store, random, USUAL);
  await store.flush();
  await store.flush();
  return { medium: device.data, model };
}

type Damage = (block: Buffer, random: SeededRandom, medium: Buffer) => void;

const DAMAGES: Readonly<Record<string, Damage>> = {
  'a byte changed': (block, random) => {
    const at = random.below(BLOCK_BYTES);
    block[at] = ((block[at] ?? 0) + 1 + random.below(255)) % 256;
  },
  'a sector of noise': (block, random) => void random.bytes(512).copy(block, 512 * random.below(8)),
  'all noise': (block, random) => void random.bytes(BLOCK_BYTES).copy(block),
  'a sector of zeros': (block, random) => {
    const at = 512 * random.below(8);
    block.fill(0, at, at + 512);
  },
  'another block of the area': (block, random, medium) =>
    void medium.copy(block, 0, random.below(BLOCKS) * BLOCK_BYTES),
};
const ZEROS: Damage = (block) => void block.fill(0);

function damaged(medium: Buffer, blocks: readonly number[], damage: Damage, random: SeededRandom): Buffer {
  const copy = Buffer.from(medium);
  for (const index of blocks)
    damage(copy.subarray(index * BLOCK_BYTES, (index + 1) * BLOCK_BYTES), random, medium);
  return copy;
}

const deviceOf = (medium: Buffer): VolatileDevice => new VolatileDevice({ medium: Buffer.from(medium) });

describe('one damaged block of an area at rest', () => {
  test.each(Object.entries({ ...DAMAGES, zeros: ZEROS }))('loses nothing: %s', async (_, damage) => {
    for (let seed = 1; seed <= 3; seed++) {
      const { medium, model } = await writtenArea(seed);
      const random = new SeededRandom(seed);
      for (let block = 0; block < BLOCKS; block++) {
        const wrong = await model.verify(deviceOf(damaged(medium, [block], damage, random)), {
          isNewest: true,
        });
        expect(wrong, `seed=${seed} block=${block}`).toBeNull();
      }
    }
  });

  test('that can not even be read loses nothing, and a superblock like that is written anew', async () => {
    const { medium, model } = await writtenArea(5);
    for (let block = 0; block < BLOCKS; block++) {
      const device = new MemoryDevice({ mediaSizeBytes: AREA_BYTES });
      medium.copy(device.data);
      const isBad = (io: { offsetBytes: number; lengthBytes: number }): boolean =>
        io.offsetBytes < (block + 1) * BLOCK_BYTES && io.offsetBytes + io.lengthBytes > block * BLOCK_BYTES;
      const broken = new FaultDevice(device, (io) =>
        io.op === 'read' && isBad(io) ? { kind: 'fail', errno: 'EIO' } : null,
      );
      expect(await model.verify(broken, { isNewest: true }), `block=${block}`).toBeNull();
    }
  });
});

test('many damaged blocks never make it throw or say what was never written; what is unknown counts as marked', async () => {
  for (let seed = 1; seed <= 300; seed++) {
    const random = new SeededRandom(seed);
    const { medium, model } = await writtenArea(1 + (seed % 4));
    const count = 1 + random.below(random.pick([4, 16, BLOCKS]));
    const blocks = Array.from({ length: count }, () => random.below(BLOCKS));
    const damage = random.pick(Object.values(DAMAGES));
    const wrong = await model.verify(deviceOf(damaged(medium, blocks, damage, random)), { isDamaged: true });
    expect(wrong, `seed=${seed}`).toBeNull();
  }
});

describe('superblocks', () => {
  const superblocks = [0, 1] as const;

  test.each(superblocks)('with copy %i damaged, the other tells and repairs it', async (copy) => {
    for (const damage of [...Object.values(DAMAGES).slice(0, 3), ZEROS]) {
      const { medium } = await writtenArea(1);
      const random = new SeededRandom(copy);
      const device = deviceOf(damaged(medium, [copy], damage, random));
      const opened = await AreaStore.open(device, 0);
      expect(opened).toMatchObject({ state: 'ok', isRepaired: true });
      const again = await AreaStore.open(device, 0);
      expect(again).toMatchObject({ state: 'ok', isRepaired: false });
      // The repair is durable: what told before may go now.
      const other = damaged(device.crash(random), [1 - copy], damage, random);
      expect(await AreaStore.open(deviceOf(other), 0)).toMatchObject({ state: 'ok', isRepaired: true });
    }
  });

  test('are left alone on a device that can only be read', async () => {
    const { medium } = await writtenArea(1);
    medium.fill(0xa5, 0, 512);
    const device = new VolatileDevice({ medium, can: { write: false, flush: false, writeZeroes: false } });
    expect(await AreaStore.open(device, 0)).toMatchObject({ state: 'ok', isRepaired: false });
    expect(device.requestCount).toBe(1);
  });

  test('are refused if both are damaged, and are none if neither was ever written', async () => {
    const { medium } = await writtenArea(1);
    const both = Buffer.from(medium);
    both[100] = 1;
    both[BLOCK_BYTES + 100] = 1;
    expect(await AreaStore.open(deviceOf(both), 0)).toEqual({
      state: 'damaged',
      why: 'neither of its superblocks is sound: wrong checksum',
    });
    expect(await AreaStore.open(deviceOf(Buffer.alloc(AREA_BYTES, 0xa5)), 0)).toEqual({
      state: 'damaged',
      why: 'neither of its superblocks is sound: something else is in its place',
    });
    const half = Buffer.from(both);
    half.fill(0, 0, BLOCK_BYTES);
    expect(await AreaStore.open(deviceOf(half), 0)).toMatchObject({ state: 'damaged' });
    medium.fill(0, 0, 2 * BLOCK_BYTES);
    expect(await AreaStore.open(deviceOf(medium), 0)).toEqual({ state: 'none' });
    expect(await AreaStore.open(deviceOf(Buffer.alloc(AREA_HEAD_BYTES - 512)), 0)).toEqual({ state: 'none' });
  });

  test.each([
    {
      what: 'of two areas',
      change: { areaId: Buffer.alloc(8, 7) },
      copies: [1],
      why: /of different mirrors/,
    },
    {
      what: 'with other regions',
      change: { regionSizeBytes: 131_072 },
      copies: [0, 1],
      why: /does not know/,
    },
    { what: 'with other extents', change: { extentSizeBytes: 1 }, copies: [0, 1], why: /does not know/ },
    { what: 'with another log', change: { logBlockCount: 17 }, copies: [0, 1], why: /does not know/ },
    { what: 'with other bitmaps', change: { bitmapBlockCount: 4 }, copies: [0, 1], why: /does not know/ },
    {
      what: 'of a larger mirror',
      change: { mediaSizeBytes: 2 ** 40, bitmapBlockCount: 521 },
      copies: [0, 1],
      why: /it takes \d+ bytes, and there are 270336 left/,
    },
    {
      what: 'of a mirror that is too large for us',
      change: { mediaSizeBytes: 2 ** 49, bitmapBlockCount: 266_306 },
      copies: [0, 1],
      why: /more than a mirror has/,
    },
  ])('$what are refused', async ({ change, copies, why }) => {
    const { medium } = await writtenArea(1);
    const sound = { ...newSuperblock(), sequence: 1000, logBlockCount: 16, bitmapBlockCount: 3 };
    for (const copy of copies) encodeSuperblock({ ...sound, ...change }).copy(medium, copy * BLOCK_BYTES);
    const opened = await AreaStore.open(deviceOf(medium), 0);
    expect(opened.state === 'damaged' ? opened.why : opened.state).toMatch(why);
  });

  test('of a later format version are refused by their version', async () => {
    const { medium } = await writtenArea(1);
    for (const copy of superblocks) medium.writeUInt32LE(2, copy * BLOCK_BYTES + 8);
    expect(await AreaStore.open(deviceOf(medium), 0)).toMatchObject({ why: /format version 2; .* knows 1/ });
  });

  test('for another place are refused', async () => {
    const { medium } = await writtenArea(1);
    const moved = Buffer.concat([Buffer.alloc(8192), medium]);
    const opened = await AreaStore.open(deviceOf(moved), 8192);
    expect(opened).toMatchObject({ state: 'damaged', why: /5368709120 bytes, and lies at byte 8192/ });
  });
});

describe('what an earlier area left behind', () => {
  test('in log and bitmaps is no damage and says nothing', async () => {
    const { medium } = await writtenArea(1);
    const device = new MemoryDevice({ mediaSizeBytes: AREA_BYTES });
    const store = await AreaStore.create(device, 0, newSuperblock({ areaId: Buffer.alloc(8, 9) }));
    await store.writeBitmap(0, bitmapSaying(1, 5), [1]);
    // As if the zeroes had never reached the medium of a host without flush.
    const one = bitmapPairAt(AREA_MEDIA_BYTES, 0, 1);
    const kept = Buffer.from(device.data);
    medium.copy(device.data, 8192, 8192);
    kept.copy(device.data, logBlockAt(1), logBlockAt(1), logBlockAt(2));
    kept.copy(device.data, one, one, one + 2 * BLOCK_BYTES);
    const opened = await AreaStore.open(device, 0);
    if (opened.state !== 'ok') throw new Error(opened.state);
    expect(opened.store.readLog()).toEqual([]);
    const bitmaps = [await opened.store.readBitmap(0), await opened.store.readBitmap(1)];
    const said = bitmaps.map((bitmap) => [0, 1, 2].map((page) => pageSays(bitmap, page)));
    expect(said).toEqual([
      ['0', '5 5005 11005 17005', '0'],
      ['0', '0', '0'],
    ]);
  });

  test('without any valid block of the log, every extent counts as hot until it is written again', async () => {
    const { medium } = await writtenArea(1);
    for (const fill of [0, 0xa5]) {
      medium.fill(fill, logBlockAt(0), AREA_HEAD_BYTES);
      const device = deviceOf(medium);
      const opened = await AreaStore.open(device, 0);
      if (opened.state !== 'ok') throw new Error(opened.state);
      expect(opened.store.readLog()).toBe('damaged');
      await opened.store.writeLog([4, 5]);
      expect(opened.store.readLog()).toEqual([4, 5]);
      const again = await AreaStore.open(device, 0);
      expect(again.state === 'ok' && again.store.readLog()).toEqual([4, 5]);
    }
  });

  test('pages that nobody can tell are marked whole, count as changed, and are sound once written', async () => {
    const { medium } = await writtenArea(1);
    const at = bitmapPairAt(AREA_MEDIA_BYTES, 1, 2);
    medium.fill(0xa5, at, at + 2 * BLOCK_BYTES);
    const device = deviceOf(medium);
    const opened = await AreaStore.open(device, 0);
    if (opened.state !== 'ok') throw new Error(opened.state);
    const bitmap = await opened.store.readBitmap(1);
    expect(pageSays(bitmap, 2)).toBe('all');
    expect(bitmap.takeChangedPages()).toEqual([2]);
    await opened.store.writeBitmap(1, bitmapSaying(2, 3), [2]);
    const again = await AreaStore.open(device, 0);
    expect(again.state === 'ok' && pageSays(await again.store.readBitmap(1), 2)).toBe('3 5003 11003 17003');
  });
});
