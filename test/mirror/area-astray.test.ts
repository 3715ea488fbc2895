import { describe, expect, test } from 'vitest';
import type { BlockIo } from '../../src/device/block-device.js';
import { AreaStore } from '../../src/mirror/area/area-store.js';
import { areaSizeBytes, bitmapPairAt, logBlockAt } from '../../src/protocol/area-layout.js';
import { AREA_MEDIA_BYTES, bitmapSaying, newSuperblock, pageSays } from '../support/area-model.js';
import { MemoryDevice } from '../support/memory-device.js';

const AREA_BYTES = areaSizeBytes(AREA_MEDIA_BYTES);
const SLOT = 1;
const PAGE = 0;
const pairAt = (slot: number, index: number): number => bitmapPairAt(AREA_MEDIA_BYTES, slot, index);

/** A disk that answers reads with what stands elsewhere, and says nothing of it, while `byBytes` is not 0. */
class StrayingDevice extends MemoryDevice {
  byBytes = 0;

  override start(io: BlockIo): void {
    const { op, lengthBytes, buffer, bufferAt } = io;
    if (op !== 'read' || this.byBytes === 0) {
      super.start(io);
      return;
    }
    const offsetBytes = io.offsetBytes + this.byBytes;
    super.start({ op, offsetBytes, lengthBytes, buffer, bufferAt, done: (error) => io.done(error) });
  }
}

/** As a start finds it: nobody knows whether what is there was flushed, so it is written over itself first. */
async function found(device: MemoryDevice): Promise<AreaStore> {
  const opened = await AreaStore.open(device, 0);
  if (opened.state !== 'ok') throw new Error('no area');
  return opened.store;
}

async function withBitmaps(): Promise<StrayingDevice> {
  const device = new StrayingDevice({ mediaSizeBytes: AREA_BYTES });
  const store = await AreaStore.create(device, 0, newSuperblock());
  for (const slot of [SLOT, SLOT + 1])
    for (const page of [0, 1]) await store.writeBitmap(slot, bitmapSaying(page, 7 * slot + page + 1), [page]);
  await store.flush();
  await store.flush();
  return device;
}

describe('a read that went astray before a bitmap block is written over itself', () => {
  test.each([
    { what: 'the log', to: logBlockAt(0) },
    { what: 'blocks that were never written', to: pairAt(SLOT + 3, 0) },
    { what: "another slot's bitmap", to: pairAt(SLOT + 1, PAGE) },
    { what: 'another page of the same bitmap', to: pairAt(SLOT, PAGE + 1) },
  ])('overwrites nothing with what it has found: $what', async ({ to }) => {
    const device = await withBitmaps();
    const store = await found(device);
    await store.readBitmap(SLOT);
    const before = Buffer.from(device.data.subarray(pairAt(0, 0)));
    device.byBytes = to - pairAt(SLOT, PAGE);
    await expect(store.writeBitmap(SLOT, bitmapSaying(PAGE, 99), [PAGE])).rejects.toMatchObject({
      code: 'DEVICE_IO',
      errno: 'EIO',
    });
    device.byBytes = 0;
    expect(device.data.subarray(pairAt(0, 0)).equals(before)).toBe(true);
    const again = await (await found(device)).readBitmap(SLOT);
    expect(pageSays(again, PAGE)).toBe(pageSays(bitmapSaying(PAGE, 7 * SLOT + 1), PAGE));
  });
});
