import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { BlockIo } from '../../src/device/block-device.js';
import { AreaStore } from '../../src/mirror/area/area-store.js';
import { sealImage } from '../../src/mirror/area/image-time.js';
import { areaSizeBytes } from '../../src/protocol/area-layout.js';
import { AREA_MEDIA_BYTES, newSuperblock } from '../support/area-model.js';
import { MemoryDevice } from '../support/memory-device.js';

/** An image whose host has a clock that may jump. */
class Image extends MemoryDevice {
  clockNs = 0n;
  timeNs = 0n;

  override start(io: BlockIo): void {
    if (io.op === 'write') this.timeNs = this.clockNs;
    super.start(io);
  }

  modifiedNs(): Promise<bigint> {
    return Promise.resolve(this.timeNs);
  }

  setModifiedNs(timeNs: bigint): Promise<void> {
    this.timeNs = timeNs;
    return Promise.resolve();
  }
}

/** What ext4 can keep, from 1901 to 2446, and what a clock without a battery says. */
const times = fc.oneof(
  fc.bigInt({ min: -2_147_483_648_000_000_000n, max: 15_032_385_535_999_999_999n }),
  fc.bigInt({ min: 0n, max: 10_000_000_000n }),
);

test('a clock that jumps, however far, is no reason to take an image for changed, nor a changed one for untouched', async () => {
  await fc.assert(
    fc.asyncProperty(times, times, times, async (whileRunning, atEnd, later) => {
      const image = new Image({ mediaSizeBytes: areaSizeBytes(AREA_MEDIA_BYTES) });
      image.clockNs = whileRunning;
      const store = await AreaStore.create(image, 0, { ...newSuperblock(), isRunning: true });
      image.clockNs = atEnd;
      await sealImage(store, image);
      const noted = store.superblock.modifiedNs;
      // Unknown only where it would be before 1970: then no time is looked at.
      expect(noted).toBe(whileRunning < 4_000_000_000n ? 0n : image.timeNs);
      image.clockNs = later;
      await store.writeSuperblock({});
      if (noted !== 0n && later !== noted) expect(image.timeNs).not.toBe(noted);
    }),
  );
});
