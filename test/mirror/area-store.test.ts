import { statSync, truncateSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { DeviceError } from '../../src/device/block-device.js';
import { createImage, openFile } from '../../src/device/file-device.js';
import { createAreaFile, openAreaFile } from '../../src/mirror/area/area-file.js';
import { AreaStore } from '../../src/mirror/area/area-store.js';
import { RegionBitmap } from '../../src/mirror/area/region-bitmap.js';
import {
  areaOffsetBytes,
  areaSizeBytes,
  bitmapBlockCount,
  bitmapPairAt,
  mediaSizeFor,
} from '../../src/protocol/area-layout.js';
import { AREA_MEDIA_BYTES, bitmapSaying, newSuperblock, pageSays } from '../support/area-model.js';
import { FaultDevice } from '../support/fault-device.js';
import { MemoryDevice } from '../support/memory-device.js';
import { RecorderDevice } from '../support/recorder-device.js';
import { makeScratch, type Scratch } from '../support/scratch.js';

const AREA_BYTES = areaSizeBytes(AREA_MEDIA_BYTES);

const memory = (can: ConstructorParameters<typeof MemoryDevice>[0] = {}): MemoryDevice =>
  new MemoryDevice({ mediaSizeBytes: AREA_BYTES, ...can });

async function openArea(device: Parameters<typeof AreaStore.open>[0], atBytes = 0): Promise<AreaStore> {
  const opened = await AreaStore.open(device, atBytes);
  if (opened.state !== 'ok') throw new Error(`the area is ${opened.state}`);
  return opened.store;
}

/** What was started since the last call. */
function started(recorder: RecorderDevice): string[] {
  const all = recorder.started();
  recorder.events.length = 0;
  return all;
}

describe('what is written', () => {
  test('is found again by another store: superblock, log, bitmaps', async () => {
    const device = memory();
    const store = await AreaStore.create(device, 0, newSuperblock());
    await store.writeSuperblock({ isRunning: true, genid: 5, history: ['ab'.repeat(16)] });
    await store.writeSuperblock({ syncid: 9 });
    await store.writeLog([0, 7, 1279]);
    const bitmap = new RegionBitmap(AREA_MEDIA_BYTES);
    bitmap.markRun(32_000, 40_000);
    await store.writeBitmap(7, bitmap, [0, 1, 2]);
    const again = await openArea(device);
    expect(again.superblock).toEqual(store.superblock);
    const { slots, ...rest } = again.superblock;
    expect(rest).toMatchObject({ isRunning: true, genid: 5, syncid: 9, sequence: 3, bitmapBlockCount: 3 });
    expect(slots).toEqual(newSuperblock().slots);
    expect(again.readLog()).toEqual([0, 7, 1279]);
    const found = await again.readBitmap(7);
    expect([found.nextMarked(0), found.countMarked]).toEqual([32_000, 40_000]);
    expect((await again.readBitmap(0)).countMarked).toBe(0);
  });

  test('is what was there when it was asked for, not what became of it since', async () => {
    const device = memory();
    const store = await AreaStore.create(device, 0, newSuperblock());
    const bitmap = bitmapSaying(1, 5);
    const extents = [1, 2];
    const both = [store.writeBitmap(0, bitmap, [1]), store.writeLog(extents)];
    bitmap.clearAll();
    extents.push(3);
    await Promise.all(both);
    const again = await openArea(device);
    expect(pageSays(await again.readBitmap(0), 1)).toBe('5 5005 11005 17005');
    expect(again.readLog()).toEqual([1, 2]);
  });

  test('goes to the device in order of call, and shares one flush if it is told to', async () => {
    const recorder = new RecorderDevice(memory());
    const store = await AreaStore.create(recorder, 0, newSuperblock());
    started(recorder);
    const later = { flush: false };
    await Promise.all([
      store.writeLog([1], later),
      store.writeBitmap(0, bitmapSaying(0, 1), [0], later),
      store.writeSuperblock({ genid: 1 }),
    ]);
    const pair = bitmapPairAt(AREA_MEDIA_BYTES, 0, 0);
    expect(started(recorder)).toEqual([
      'write 20480+4096', // Transaction 3: making the area wrote the first one twice.
      `write ${pair}+8192`, // A first version goes to both copies.
      'write 4096+4096',
      'flush 0+0',
      'write 0+4096', // The second copy of the superblock.
    ]);
    await store.flush();
    expect(started(recorder)).toEqual(['write 24576+4096', 'flush 0+0']);
    await store.writeBitmap(0, bitmapSaying(0, 2), [0]);
    expect(started(recorder)).toEqual([`write ${pair + 4096}+4096`, 'flush 0+0']);
    await store.flush();
    expect(started(recorder)).toEqual([`write ${pair}+4096`, 'flush 0+0']);
    await store.flush();
    expect(started(recorder)).toEqual(['flush 0+0']);
  });

  test('a second copy is not written of what changes again before the next flush', async () => {
    const recorder = new RecorderDevice(memory());
    const store = await AreaStore.create(recorder, 0, newSuperblock());
    const pair = bitmapPairAt(AREA_MEDIA_BYTES, 0, 0);
    await store.writeBitmap(0, bitmapSaying(0, 1), [0]);
    started(recorder);
    for (let version = 2; version <= 4; version++) await store.writeBitmap(0, bitmapSaying(0, version), [0]);
    const writes = started(recorder).filter((request) => request.endsWith('+4096'));
    expect(writes).toEqual([`write ${pair + 4096}+4096`, `write ${pair}+4096`, `write ${pair + 4096}+4096`]);
  });

  test('on a component that can not flush goes to both copies in turn, without a flush', async () => {
    const recorder = new RecorderDevice(memory({ can: { flush: false } }));
    const store = await AreaStore.create(recorder, 0, newSuperblock());
    started(recorder);
    await store.writeBitmap(0, bitmapSaying(0, 1), [0], { flush: false });
    await store.writeBitmap(0, bitmapSaying(0, 2), [0], { flush: false });
    await store.flush();
    const pair = bitmapPairAt(AREA_MEDIA_BYTES, 0, 0);
    const bitmaps = started(recorder).filter((request) => !request.includes(' 2'));
    expect(bitmaps.slice(0, 2)).toEqual([`write ${pair}+8192`, `write ${pair + 4096}+4096`]);
    expect(recorder.started().some((request) => request.startsWith('flush'))).toBe(false);
    expect(pageSays(await (await openArea(recorder)).readBitmap(0), 0)).toBe('2 5002 11002 17002');
  });
});

describe('a device that fails', () => {
  test.each(['write', 'flush', 'read'] as const)(
    'at a %s passes its error up, and the next try succeeds',
    async (op) => {
      const device = memory();
      await AreaStore.create(device, 0, newSuperblock());
      const faulty = new FaultDevice(device);
      const store = await openArea(faulty);
      faulty.plan = (io) => (io.op === op ? { kind: 'fail', errno: 'EIO' } : null);
      const bitmap = bitmapSaying(2, 6);
      await expect(store.writeBitmap(0, bitmap, [2])).rejects.toBeInstanceOf(DeviceError);
      if (op !== 'read') {
        await expect(store.writeLog([5])).rejects.toMatchObject({ code: 'DEVICE_IO', errno: 'EIO' });
        await expect(store.writeSuperblock({ genid: 3 })).rejects.toBeInstanceOf(DeviceError);
      } else {
        await expect(AreaStore.open(faulty, 0)).rejects.toMatchObject({ code: 'DEVICE_IO' });
        await expect(store.readBitmap(3)).rejects.toMatchObject({ code: 'DEVICE_IO' });
      }
      faulty.plan = () => null;
      await store.writeBitmap(0, bitmap, [2]);
      await store.writeLog([5]);
      await store.writeSuperblock({ genid: 3 });
      const again = await openArea(device);
      expect([again.superblock.genid, again.readLog()]).toEqual([3, [5]]);
      expect(pageSays(await again.readBitmap(0), 2)).toBe('6 5006 11006 17006');
    },
  );

  test('by losing its connection is not taken for one with unreadable blocks', async () => {
    const device = memory();
    await AreaStore.create(device, 0, newSuperblock());
    const recorder = new RecorderDevice(device);
    const gone = new FaultDevice(recorder, () => ({ kind: 'fail', errno: 'ENXIO', code: 'DEVICE_LOST' }));
    await expect(AreaStore.open(gone, 0)).rejects.toMatchObject({ code: 'DEVICE_LOST' });
    expect(recorder.started()).toEqual([]);
  });
});

describe('making an area', () => {
  test('where bytes of earlier use are leaves no trace of them, with and without write-zeroes', async () => {
    for (const writeZeroes of [true, false]) {
      const device = memory({ can: { writeZeroes } });
      device.data.fill(0xa5);
      await AreaStore.create(device, 0, newSuperblock());
      const store = await openArea(device);
      for (let slot = 0; slot < 8; slot++) expect((await store.readBitmap(slot)).countMarked).toBe(0);
      expect(store.readLog()).toEqual([]);
    }
  });

  test('writes no zeros where zeros are, so an image without write-zeroes stays sparse', async () => {
    const recorder = new RecorderDevice(memory({ can: { writeZeroes: false } }));
    await AreaStore.create(recorder, 0, newSuperblock());
    const written = recorder.events
      .filter(({ what, op }) => what === 'start' && op === 'write')
      .reduce((sum, { lengthBytes }) => sum + lengthBytes, 0);
    // Log, superblock and the second copies of both.
    expect(written).toBeLessThanOrEqual(4 * 4096);
  });

  test('touches nothing before its beginning and behind its end, also on sectors of 4,096 bytes', async () => {
    const atBytes = 12_288;
    const mediaSizeBytes = 12_288 - 512;
    expect(areaOffsetBytes(mediaSizeBytes)).toBe(atBytes);
    const sizeBytes = areaSizeBytes(mediaSizeBytes);
    for (const sectorSizeBytes of [512, 4096]) {
      const device = memory({ mediaSizeBytes: atBytes + sizeBytes + 4096, sectorSizeBytes });
      device.data.fill(0xa5);
      const store = await AreaStore.create(device, atBytes, newSuperblock({ mediaSizeBytes }));
      const bitmap = new RegionBitmap(mediaSizeBytes);
      bitmap.markAll();
      for (let turn = 0; turn < 40; turn++) {
        await store.writeLog([0]);
        for (let slot = 0; slot < 8; slot++) await store.writeBitmap(slot, bitmap, [0]);
        await store.writeSuperblock({ genid: turn });
      }
      const isUntouched = (part: Buffer): boolean => part.every((byte) => byte === 0xa5);
      expect(isUntouched(device.data.subarray(0, atBytes))).toBe(true);
      expect(isUntouched(device.data.subarray(atBytes + sizeBytes))).toBe(true);
      expect((await (await openArea(device, atBytes)).readBitmap(7)).countMarked).toBe(1);
    }
  });
});

describe('on real files', () => {
  let scratch: Scratch;
  beforeEach(() => {
    scratch = makeScratch();
  });
  afterEach(() => scratch.remove());

  test('an area of 4 TiB is made and read with few requests, and the image stays sparse', async () => {
    const path = scratch.path('large.img');
    const providerBytes = 4 * 2 ** 40;
    await createImage(path, providerBytes);
    const file = await openFile(path, { access: 'rw' });
    try {
      const mediaSizeBytes = mediaSizeFor(providerBytes, 512);
      const atBytes = areaOffsetBytes(mediaSizeBytes);
      const recorder = new RecorderDevice(file);
      const store = await AreaStore.create(recorder, atBytes, newSuperblock({ mediaSizeBytes }));
      expect(started(recorder).length).toBeLessThan(20);
      const bitmap = new RegionBitmap(mediaSizeBytes);
      bitmap.markRun(1_000_000, 100_000);
      bitmap.markRegion(bitmap.regionCount - 1);
      await store.writeBitmap(1, bitmap, bitmap.takeChangedPages());
      started(recorder);
      const again = await openArea(recorder, atBytes);
      expect(started(recorder)).toEqual([`read ${atBytes}+73728`]);
      const found = await again.readBitmap(1);
      const reads = started(recorder);
      expect(reads.length).toBe(Math.ceil((bitmapBlockCount(mediaSizeBytes) * 8192) / 2 ** 20));
      expect(reads.every((request) => request.startsWith('read'))).toBe(true);
      expect([found.countMarked, found.nextMarked(0)]).toEqual([100_001, 1_000_000]);
      // Holes are punched with the C library only; without it zeroes are written.
      if (file.can.trim) expect(statSync(path).blocks * 512).toBeLessThan(2 ** 20);
    } finally {
      await file.close();
    }
  });

  test('an area file holds the same bytes from its beginning, is sparse, and is never made over something', async () => {
    const path = scratch.path('site.area');
    const made = await createAreaFile(path, newSuperblock());
    await made.store.writeLog([8]);
    await made.close();
    expect(statSync(path).size).toBe(AREA_BYTES);
    await expect(createAreaFile(path, newSuperblock())).rejects.toMatchObject({
      code: 'DEVICE_OPEN',
      errno: 'EEXIST',
    });
    const opened = await openAreaFile(path);
    if (opened.state !== 'ok') throw new Error(opened.state);
    expect([opened.store.readLog(), opened.store.superblock.name]).toEqual([[8], 'data']);
    await opened.close();
    const file = await openFile(path, { access: 'ro' });
    expect((await openArea(file)).readLog()).toEqual([8]);
    await file.close();
  });

  test('an area file that is missing, empty of an area or cut is told apart', async () => {
    const path = scratch.path('site.area');
    await expect(openAreaFile(path)).rejects.toMatchObject({ code: 'DEVICE_OPEN', errno: 'ENOENT' });
    await createImage(path, AREA_BYTES);
    expect(await openAreaFile(path)).toEqual({ state: 'none' });
    const cut = scratch.path('cut.area');
    const made = await createAreaFile(cut, newSuperblock());
    await made.close();
    truncateSync(cut, AREA_BYTES - 4096);
    expect(await openAreaFile(cut, 'ro')).toMatchObject({ state: 'damaged', why: /it takes 270336 bytes/ });
  });
});
