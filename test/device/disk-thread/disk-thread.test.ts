import { readFileSync, readlinkSync, readdirSync, truncateSync, writeFileSync } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { BlockDevice, DeviceError } from '../../../src/device/block-device.js';
import type { DiskThreadDevice, OpenDiskThreadOptions } from '../../../src/device/disk-thread/disk-thread.js';
import { createImage } from '../../../src/device/file-device.js';
import { native } from '../../../src/device/platform/native.js';
import {
  checksumsOf,
  clear,
  flush,
  pattern,
  readBytes,
  request,
  start,
  wholeOf,
  writeBytes,
} from '../../support/device-requests.js';
import { openThreaded } from '../../support/disk-thread.js';
import { canUseLoop, withMount } from '../../support/loop-device.js';
import { makeScratch, type Scratch } from '../../support/scratch.js';

let scratch: Scratch;

beforeEach(() => {
  scratch = makeScratch();
});
afterEach(() => scratch.remove());

async function newImage(sizeBytes: number): Promise<string> {
  const path = scratch.path('test.img');
  await createImage(path, sizeBytes);
  return path;
}

async function withDevice(
  path: string,
  use: (device: DiskThreadDevice) => Promise<void>,
  options: Partial<OpenDiskThreadOptions> = {},
): Promise<void> {
  const device = await openThreaded(path, options);
  try {
    await use(device);
  } finally {
    await device.close();
  }
}

const isOpenHere = (path: string): boolean =>
  readdirSync('/proc/self/fd').some((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`) === path;
    } catch {
      return false; // of readdir itself
    }
  });

describe('opening with a thread', () => {
  test('fails as opening a file does', async () => {
    await expect(openThreaded(scratch.path('none'))).rejects.toMatchObject({
      code: 'DEVICE_OPEN',
      errno: 'ENOENT',
    });
  });

  test.each([
    { what: 'is missing', program: null },
    { what: 'ends at once', program: '' },
    { what: 'throws', program: 'throw new Error("no");' },
  ])('fails and leaves nothing open when the program of the thread $what', async ({ program }) => {
    const path = await newImage(65_536);
    const threadProgram = scratch.path('program.mjs');
    if (program !== null) writeFileSync(threadProgram, program);
    await expect(openThreaded(path, { threadProgram })).rejects.toMatchObject({
      code: 'DEVICE_OPEN',
      errno: 'EAGAIN',
    });
    if (process.platform === 'linux') expect(isOpenHere(path)).toBe(false);
  });

  test.each([
    { access: 'ro', read: true, write: false },
    { access: 'wo', read: false, write: true },
  ] as const)('$access can do what that says', async ({ access, read, write }) => {
    await withDevice(
      await newImage(65_536),
      (device) => {
        expect(device.can).toMatchObject({ read, checksum: read, write, writeZeroes: write, flush: true });
        return Promise.resolve();
      },
      { access },
    );
  });
});

describe('a disk thread', () => {
  test.each([
    { what: 'one slot', requestsMax: 1 },
    { what: 'three slots', requestsMax: 3 },
    { what: 'the usual slots', requestsMax: 256 },
  ])('answers in order of start, with $what and far more in flight', async ({ requestsMax }) => {
    await withDevice(
      await newImage(1_048_576),
      async (device) => {
        const order: number[] = [];
        await new Promise<void>((resolve) => {
          for (let index = 0; index < 1000; index++) {
            const done = (error: DeviceError | null): void => {
              expect(error).toBeNull();
              if (order.push(index) === 1000) resolve();
            };
            const offsetBytes = (index % 7) * 512;
            const buffer = Buffer.alloc(512, index);
            const op = index % 2 === 0 ? 'write' : 'read';
            device.start(request({ op, offsetBytes, lengthBytes: 512, buffer, done }));
          }
        });
        expect(order).toEqual(Array.from({ length: 1000 }, (_, index) => index));
      },
      { requestsMax },
    );
  });

  test.each([true, false])(
    'shows each read the last write of its range that was started before it (cached reads %s)',
    async (cachedReads) => {
      const path = await newImage(1_048_576);
      await withDevice(
        path,
        async (device) => {
          const outcomes: Promise<unknown>[] = [];
          const found: Buffer[] = [];
          for (let index = 0; index < 300; index++) {
            const range = { offsetBytes: 8192, lengthBytes: 4096 };
            outcomes.push(start(device, 'write', range, pattern(4096, index)));
            const buffer = Buffer.alloc(4096);
            found.push(buffer);
            outcomes.push(start(device, 'read', range, buffer));
          }
          expect(new Set(await Promise.all(outcomes))).toEqual(new Set([null]));
          expect(found.every((buffer, index) => buffer.equals(pattern(4096, index)))).toBe(true);
        },
        { cachedReads },
      );
    },
  );

  test('never misses that there is work, nor that it is done', async () => {
    await withDevice(await newImage(1_048_576), async (device) => {
      const buffer = Buffer.alloc(512);
      // Bursts of changing size, so that requests come while the thread works, goes to sleep and sleeps.
      for (let round = 0; round < 2000; round++) {
        const burst = Array.from({ length: 1 + (round % 5) }, (_, index) =>
          start(device, 'read', { offsetBytes: index * 512, lengthBytes: 512 }, buffer),
        );
        if (round % 3 === 0) await nextTurn();
        burst.push(start(device, 'read', { offsetBytes: 0, lengthBytes: 512 }, buffer));
        expect(new Set(await Promise.all(burst))).toEqual(new Set([null]));
      }
    });
  });

  test('moves far more than fits into shared memory, in requests of all sizes and alignments', async () => {
    const path = await newImage(33_554_432);
    await withDevice(path, async (device) => {
      const data = pattern(33_554_432, 1);
      const back = Buffer.alloc(data.length + 7, 0xee);
      const sizes = [512, 9_437_184, 1536, 524_288, 524_800, 65_536, 4_194_304, 1_048_576];
      const ranges: { offsetBytes: number; lengthBytes: number }[] = [];
      for (let at = 0; at < data.length;) {
        const size = sizes[ranges.length % sizes.length] ?? 512;
        const lengthBytes = Math.min(size, data.length - at);
        ranges.push({ offsetBytes: at, lengthBytes });
        at += lengthBytes;
      }
      const shifted = Buffer.concat([Buffer.alloc(3), data]);
      const moves = ranges.flatMap((range) => [
        start(device, 'write', range, shifted, range.offsetBytes + 3),
        start(device, 'read', range, back, range.offsetBytes + 7),
      ]);
      expect(new Set(await Promise.all(moves))).toEqual(new Set([null]));
      expect(back.subarray(7).equals(data)).toBe(true);
      expect(back.subarray(0, 7).every((byte) => byte === 0xee)).toBe(true);
      expect(readFileSync(path).equals(data)).toBe(true);
    });
  });

  test('has taken its copy of a write at the latest when it is done, and not looked at it since', async () => {
    const path = await newImage(65_536);
    await withDevice(path, async (device) => {
      const buffer = pattern(4096, 1);
      await writeBytes(device, 0, buffer);
      buffer.fill(0);
      await flush(device);
      expect(readFileSync(path).subarray(0, 4096).equals(pattern(4096, 1))).toBe(true);
    });
  });

  test('answers EIO to a read where the file was cut, its buffer untouched, and goes on', async () => {
    const path = await newImage(4_194_304);
    await withDevice(path, async (device) => {
      truncateSync(path, 600_000);
      const buffer = Buffer.alloc(4096, 0xee);
      const error = await start(device, 'read', { offsetBytes: 655_360, lengthBytes: 4096 }, buffer);
      expect(error).toMatchObject({ code: 'DEVICE_IO', errno: 'EIO' });
      expect(error?.message).toBe(
        "file test.img: read of 4096 bytes at byte 655360 failed: EIO; check the disk and the kernel's log",
      );
      expect(buffer.every((byte) => byte === 0xee)).toBe(true);
      // Its first piece is there, its second one is not, its third one is neither.
      const long = await start(
        device,
        'read',
        { offsetBytes: 0, lengthBytes: 1_572_864 },
        Buffer.alloc(1_572_864),
      );
      expect(long).toMatchObject({ code: 'DEVICE_IO', errno: 'EIO' });
      expect(await start(device, 'read', { offsetBytes: 0, lengthBytes: 4096 }, buffer)).toBeNull();
    });
  });

  test.runIf(canUseLoop())(
    'says ENOSPC to what a full file system does not take, and only to that',
    async () => {
      await withMount(['-t', 'tmpfs', '-o', 'size=256k', 'none'], scratch.path('mount'), async () => {
        const path = scratch.path('mount/test.img');
        await createImage(path, 1_048_576);
        await withDevice(path, async (device) => {
          const range = { offsetBytes: 65_536, lengthBytes: 524_288 };
          const [kept, refused, read] = await Promise.all([
            start(device, 'write', { offsetBytes: 0, lengthBytes: 65_536 }, pattern(65_536, 1)),
            start(device, 'write', range, pattern(524_288, 2)),
            readBytes(device, { offsetBytes: 0, lengthBytes: 65_536 }),
          ]);
          expect(kept).toBeNull();
          expect(refused).toMatchObject({ code: 'DEVICE_IO', errno: 'ENOSPC' });
          expect(read.equals(pattern(65_536, 1))).toBe(true);
        });
      });
    },
  );

  test.runIf(canUseLoop())('fails a request of which only a piece in the middle failed', async () => {
    await withMount(['-t', 'tmpfs', '-o', 'size=1m', 'none'], scratch.path('mount'), async () => {
      const path = scratch.path('mount/test.img');
      await createImage(path, 2_097_152);
      await withDevice(path, async (device) => {
        // The last piece has its room already.
        await writeBytes(device, 1_572_864, pattern(524_288, 1));
        const error = await start(device, 'write', wholeOf(device), pattern(2_097_152, 2));
        expect(error).toMatchObject({ code: 'DEVICE_IO', errno: 'ENOSPC' });
        const last = await readBytes(device, { offsetBytes: 2_096_640, lengthBytes: 512 });
        expect(last.equals(pattern(2_097_152, 2).subarray(-512))).toBe(true);
      });
    });
  });

  test('fails everything when its thread ends before its time, and can be closed', async () => {
    const threadProgram = scratch.path('program.mjs');
    writeFileSync(
      threadProgram,
      `import { workerData } from 'node:worker_threads';
      const words = new Int32Array(workerData.blocks.words);
      workerData.port.postMessage(0);
      while (Atomics.load(words, 0) === 0) Atomics.wait(words, 0, 0, 10);
      throw new Error('out of luck');`,
    );
    const device = await openThreaded(await newImage(65_536), { threadProgram });
    const outcomes = await Promise.all(
      [0, 1, 2].map((at) =>
        start(device, 'read', { offsetBytes: at * 512, lengthBytes: 512 }, Buffer.alloc(512)),
      ),
    );
    for (const error of outcomes) {
      expect(error).toMatchObject({ code: 'DEVICE_IO', errno: 'EIO' });
      expect(error?.cause).toMatchObject({ message: 'out of luck' });
    }
    const later = await start(device, 'read', { offsetBytes: 0, lengthBytes: 512 }, Buffer.alloc(512));
    expect(later?.code).toBe('DEVICE_CLOSED');
    await device.close();
  });
});

describe('beside the thread', () => {
  test('many flushes, checksums and zeroes are each answered, and mixed with writes', async () => {
    await withDevice(await newImage(4_194_304), async (device) => {
      const regions = Array.from({ length: 64 }, (_, index) => ({
        offsetBytes: index * 65_536,
        lengthBytes: 65_536,
      }));
      await Promise.all(
        regions.map(({ offsetBytes }, index) => writeBytes(device, offsetBytes, pattern(512, index))),
      );
      const all = await checksumsOf(device, wholeOf(device));
      const [sums] = await Promise.all([
        Promise.all(regions.map((range) => checksumsOf(device, range))),
        ...regions.map(() => flush(device)),
      ]);
      expect(Buffer.concat(sums).equals(all)).toBe(true);
      await clear(device, 'write-zeroes', wholeOf(device));
      expect((await readBytes(device, wholeOf(device))).every((byte) => byte === 0)).toBe(true);
    });
  });

  test.skipIf(native() === null)('a range of many pieces is zeroed and summed whole', async () => {
    await withDevice(await newImage(402_653_184), async (device) => {
      const places = [512, 134_217_728 - 512, 134_217_728, 268_435_456 + 65_536, 402_653_184 - 512];
      for (const at of places) await writeBytes(device, at, pattern(512, at % 251));
      const regionOf = (at: number): number => Math.floor(at / 65_536);
      const sums = await checksumsOf(device, wholeOf(device));
      const blank = sums.readBigUInt64BE(8 * 5);
      const used = Array.from({ length: sums.length / 8 }, (_, index) => index).filter(
        (index) => sums.readBigUInt64BE(index * 8) !== blank,
      );
      expect(used).toEqual([...new Set(places.map(regionOf))]);
      await clear(device, 'write-zeroes', wholeOf(device));
      expect(await device.nextAllocated(0)).toBeNull();
    });
  });

  test.skipIf(native() === null)('data is found as in a file, up to the close', async () => {
    const device = await openThreaded(await newImage(16_777_216));
    await writeBytes(device, 4_194_304, pattern(65_536, 1));
    expect(await device.nextAllocated(0)).toEqual({ offsetBytes: 4_194_304, lengthBytes: 65_536 });
    await device.close();
    await expect(device.nextAllocated(0)).rejects.toMatchObject({ code: 'DEVICE_CLOSED' });
  });
});

describe('abandoning', () => {
  const burst = (device: BlockDevice, buffers: readonly Buffer[]): Promise<(DeviceError | null)[]> =>
    Promise.all(
      buffers.map((buffer, index) =>
        start(device, 'read', { offsetBytes: index * 512, lengthBytes: buffer.length }, buffer),
      ),
    );

  test('fails all that is in flight or waits, once each, and touches no buffer afterwards', async () => {
    const path = await newImage(1_048_576);
    writeFileSync(path, Buffer.alloc(1_048_576, 0x55));
    const device = await openThreaded(path, { requestsMax: 4 });
    const buffers = Array.from({ length: 40 }, () => Buffer.alloc(512, 0xee));
    let doneInside = 0;
    let isAbandoning = false;
    const outcomes = burst(device, buffers);
    const others = (['flush', 'checksum', 'write-zeroes', 'trim'] as const)
      .filter((op) => op !== 'trim' || device.can.trim)
      .map((op) => {
        const lengthBytes = op === 'flush' ? 0 : 65_536;
        return new Promise<DeviceError | null>((resolve) => {
          const done = (error: DeviceError | null): void => {
            if (isAbandoning) doneInside += 1;
            resolve(error);
          };
          const buffer = op === 'checksum' ? Buffer.alloc(8, 0xee) : null;
          device.start(request({ op, offsetBytes: 0, lengthBytes, buffer, done }));
          if (buffer !== null) buffers.push(buffer);
        });
      });
    const search = device.nextAllocated(0);
    isAbandoning = true;
    device.abandon();
    isAbandoning = false;
    await expect(search).rejects.toMatchObject({ code: 'DEVICE_TIMEOUT' });
    for (const error of await Promise.all([outcomes, ...others])) {
      for (const each of [error].flat()) {
        expect(each).toMatchObject({ code: 'DEVICE_TIMEOUT', errno: 'ETIMEDOUT' });
      }
    }
    expect(doneInside).toBe(0);
    await device.close();
    expect(buffers.every((buffer) => buffer.every((byte) => byte === 0xee))).toBe(true);
    const later = await start(device, 'read', { offsetBytes: 0, lengthBytes: 512 }, Buffer.alloc(512));
    expect(later?.code).toBe('DEVICE_CLOSED');
  });

  test('from within done stops the delivery of what else is finished', async () => {
    const path = await newImage(1_048_576);
    writeFileSync(path, Buffer.alloc(1_048_576, 0x55));
    const device = await openThreaded(path);
    const codes: (string | null)[] = [];
    await new Promise<void>((resolve) => {
      for (let index = 0; index < 16; index++) {
        const done = (error: DeviceError | null): void => {
          if (index === 3) device.abandon();
          if (codes.push(error?.code ?? null) === 16) resolve();
        };
        const buffer = Buffer.alloc(512);
        device.start(request({ op: 'read', offsetBytes: index * 512, lengthBytes: 512, buffer, done }));
      }
    });
    expect(codes).toEqual(Array.from({ length: 16 }, (_, index) => (index <= 3 ? null : 'DEVICE_TIMEOUT')));
    await device.close();
  });

  test('an idle, a closing or a closed device does no harm, nor does doing it twice', async () => {
    const path = await newImage(1_048_576);
    const idle = await openThreaded(path);
    idle.abandon();
    idle.abandon();
    await idle.close();
    const closing = await openThreaded(path);
    const outcomes = burst(
      closing,
      Array.from({ length: 9 }, () => Buffer.alloc(512)),
    );
    const closed = closing.close();
    closing.abandon();
    await closed;
    expect((await outcomes).map((error) => error?.code)).toEqual(Array(9).fill('DEVICE_TIMEOUT'));
    closing.abandon();
    if (process.platform === 'linux') expect(isOpenHere(path)).toBe(false);
  });

  test('halfway through a request of many pieces fails it once', async () => {
    const device = await openThreaded(await newImage(33_554_432), { requestsMax: 2 });
    const buffer = Buffer.alloc(33_554_432, 0x11);
    const codes: (string | null)[] = [];
    const startOne = (): Promise<void> =>
      new Promise((resolve) => {
        const done = (error: DeviceError | null): void => {
          codes.push(error?.code ?? null);
          resolve();
        };
        device.start(request({ op: 'write', ...wholeOf(device), buffer, done }));
      });
    const [first, ...others] = [startOne(), startOne(), startOne()];
    await first;
    device.abandon();
    await Promise.all(others);
    await device.close();
    expect(codes).toEqual([null, 'DEVICE_TIMEOUT', 'DEVICE_TIMEOUT']);
  });
});
