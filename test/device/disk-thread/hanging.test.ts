import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { DeviceError } from '../../../src/device/block-device.js';
import type { DiskThreadDevice } from '../../../src/device/disk-thread/disk-thread.js';
import { flush, pattern, readBytes, start, writeBytes } from '../../support/device-requests.js';
import { openThreaded } from '../../support/disk-thread.js';
import { makeHangingDisk, noHangingDisk, type HangingDisk } from '../../support/hanging-disk.js';
import { makeScratch, type Scratch } from '../../support/scratch.js';

const MIB = 1_048_576;
const isSkipped = noHangingDisk() !== null && process.env['CI'] !== 'true';

describe.skipIf(isSkipped)('a disk with a thread of its own that hangs', () => {
  let scratch: Scratch;
  let disk: HangingDisk;
  let device: DiskThreadDevice;

  beforeEach(async () => {
    expect(noHangingDisk()).toBeNull();
    scratch = makeScratch();
    disk = await makeHangingDisk(scratch.folder);
    device = await openThreaded(disk.path);
  });

  afterEach(async () => {
    disk.recover();
    await device.close();
    await disk.remove();
    scratch.remove();
  });

  /** Of pages that the kernel has not seen, so they wait for the disk. */
  const cold = (index: number, lengthBytes: number) => ({ offsetBytes: (4 + index) * MIB, lengthBytes });

  test('is abandoned while it hangs: all fail, no buffer is touched, close() waits for the last call', async () => {
    await writeBytes(device, 0, pattern(4096, 1));
    await disk.hang();
    const buffers = Array.from({ length: 8 }, () => Buffer.alloc(512, 0xee));
    const reads = buffers.map((buffer, index) => start(device, 'read', cold(index, 512), buffer));
    const sums = Buffer.alloc(8, 0xee);
    const others = [
      start(device, 'checksum', cold(2, 65_536), sums),
      start(device, 'flush', { offsetBytes: 0, lengthBytes: 0 }),
      start(device, 'flush', { offsetBytes: 0, lengthBytes: 0 }),
    ];
    // The event loop goes on meanwhile, and nothing is answered.
    let answered = 0;
    for (const outcome of [...reads, ...others]) {
      outcome.then(
        () => (answered += 1),
        () => undefined,
      );
    }
    await disk.waitedFor();
    expect(answered).toBe(0);

    device.abandon();
    for (const error of await Promise.all([...reads, ...others])) {
      expect(error).toMatchObject({ code: 'DEVICE_TIMEOUT', errno: 'ETIMEDOUT' });
    }
    let isClosed = false;
    const closed = device.close().then(() => (isClosed = true));
    for (let turn = 0; turn < 50; turn++) await nextTurn();
    expect(isClosed).toBe(false);

    disk.recover();
    await closed;
    await nextTurn();
    expect([...buffers, sums].every((buffer) => buffer.every((byte) => byte === 0xee))).toBe(true);
  });

  test('has no write land after close(), and none begun behind the one that hung', async () => {
    await writeBytes(device, 0, pattern(4096, 1));
    await disk.hang();
    const outcomes: Promise<DeviceError | null>[] = [];
    const data = Buffer.alloc(512, 0x77);
    // The kernel must read the rest of each page, so each of these waits for the disk.
    for (let index = 0; index < 6; index++) outcomes.push(start(device, 'write', cold(index, 512), data));
    await disk.waitedFor();
    device.abandon();
    // The caller may use its buffer again at once; what was given up never shows this.
    data.fill(0x99);
    const codes = (await Promise.all(outcomes)).map((error) => error?.code);
    expect(new Set(codes)).toEqual(new Set(['DEVICE_TIMEOUT']));
    let isClosed = false;
    const closed = device.close().then(() => (isClosed = true));
    for (let turn = 0; turn < 50; turn++) await nextTurn();
    expect(isClosed).toBe(false);
    disk.recover();
    await closed;

    const again = await openThreaded(disk.path);
    try {
      const found: number[] = [];
      for (let index = 0; index < 6; index++) {
        const sector = await readBytes(again, cold(index, 512));
        expect(new Set(sector)).toHaveLength(1);
        found.push(sector[0] ?? -1);
      }
      expect([0, 0x77]).toContain(found[0]);
      expect(found.slice(1)).toEqual([0, 0, 0, 0, 0]);
      // What was written now stays.
      for (let index = 0; index < 6; index++)
        await writeBytes(again, cold(index, 512).offsetBytes, pattern(512, index));
      await flush(again);
      for (let index = 0; index < 6; index++) {
        expect((await readBytes(again, cold(index, 512))).equals(pattern(512, index))).toBe(true);
      }
      expect((await readBytes(again, { offsetBytes: 0, lengthBytes: 4096 })).equals(pattern(4096, 1))).toBe(
        true,
      );
    } finally {
      await again.close();
    }
  });

  test('goes on where it was if it is back before anyone gives it up', async () => {
    await disk.hang();
    const writes = Array.from({ length: 6 }, (_, index) =>
      start(device, 'write', cold(index, 512), pattern(512, index)),
    );
    await disk.waitedFor();
    disk.recover();
    expect(new Set(await Promise.all(writes))).toEqual(new Set([null]));
    for (let index = 0; index < 6; index++) {
      expect((await readBytes(device, cold(index, 512))).equals(pattern(512, index))).toBe(true);
    }
  });
});
