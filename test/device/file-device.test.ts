import { execFileSync } from 'node:child_process';
import { readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createImage, openFile, type FileDevice } from '../../src/device/file-device.js';
import { native } from '../../src/device/platform/native.js';
import { canUseLoop, withLoopDevice, withMount } from '../support/loop-device.js';
import {
  checksumsOf,
  clear,
  flush,
  pattern,
  readBytes,
  start,
  wholeOf,
  writeBytes,
} from '../support/device-requests.js';
import { makeScratch, type Scratch } from '../support/scratch.js';

let scratch: Scratch;

beforeEach(() => {
  scratch = makeScratch();
});
afterEach(() => scratch.remove());

async function withDevice(path: string, use: (device: FileDevice) => Promise<void>): Promise<void> {
  const device = await openFile(path, { access: 'rw' });
  try {
    await use(device);
  } finally {
    await device.close();
  }
}

async function newImage(sizeBytes: number): Promise<string> {
  const path = scratch.path('test.img');
  await createImage(path, sizeBytes);
  return path;
}

/** Without the C library, as where koffi is not installed. */
async function withoutNative(use: () => Promise<void>): Promise<void> {
  const before = process.env['GGMIRROR_NO_FFI'];
  process.env['GGMIRROR_NO_FFI'] = '1';
  try {
    await use();
  } finally {
    if (before === undefined) delete process.env['GGMIRROR_NO_FFI'];
    else process.env['GGMIRROR_NO_FFI'] = before;
  }
}

describe('an image', () => {
  test('is made sparse and zeroed, and never over something', async () => {
    const path = await newImage(2 ** 32);
    expect(statSync(path)).toMatchObject({ size: 2 ** 32, blocks: 0 });
    await expect(createImage(path, 512)).rejects.toMatchObject({ code: 'DEVICE_OPEN', errno: 'EEXIST' });
    expect(statSync(path).size).toBe(2 ** 32);
  });
});

describe('an open file', () => {
  test.each([
    { access: 'ro', read: true, write: false },
    { access: 'wo', read: false, write: true },
    { access: 'rw', read: true, write: true },
  ] as const)('opened $access can do what that says', async ({ access, read, write }) => {
    const device = await openFile(await newImage(65_536), { access });
    expect(device.can).toMatchObject({ read, checksum: read, write, writeZeroes: write, flush: true });
    if (!write) expect(device.can.trim).toBe(false);
    await device.close();
  });

  test('is named after its kind and file, or as the caller says', async () => {
    const path = await newImage(65_536);
    const device = await openFile(path, { access: 'ro' });
    const other = await openFile(path, { access: 'ro', name: 'the old one' });
    expect([device.name, other.name]).toEqual(['file test.img', 'the old one']);
    await Promise.all([device.close(), other.close()]);
  });

  test('learns whether it can trim without a change to the file', async () => {
    const path = scratch.path('test.img');
    writeFileSync(path, pattern(100_000, 1));
    const before = statSync(path);
    await withDevice(path, (device) => {
      expect(device.can.trim).toBe(native() !== null);
      return Promise.resolve();
    });
    expect(statSync(path)).toMatchObject({ size: before.size, blocks: before.blocks });
    expect(readFileSync(path).equals(pattern(100_000, 1))).toBe(true);
  });

  test('answers EIO to a read and to a checksum when the file was cut, and goes on', async () => {
    const path = await newImage(262_144);
    await withDevice(path, async (device) => {
      truncateSync(path, 66_000);
      const read = await start(
        device,
        'read',
        { offsetBytes: 65_536, lengthBytes: 4096 },
        Buffer.alloc(4096),
      );
      expect(read).toMatchObject({ code: 'DEVICE_IO', errno: 'EIO' });
      const sum = await start(device, 'checksum', wholeOf(device), Buffer.alloc(32));
      expect(sum).toMatchObject({ code: 'DEVICE_IO', errno: 'EIO' });
      await readBytes(device, { offsetBytes: 0, lengthBytes: 512 });
    });
  });

  test.skipIf(native() === null)('gives back space with trim, and with zeroes', async () => {
    const path = scratch.path('test.img');
    writeFileSync(path, pattern(1_048_576, 1));
    await withDevice(path, async (device) => {
      const before = statSync(path).blocks;
      await clear(device, 'trim', { offsetBytes: 0, lengthBytes: 262_144 });
      const between = statSync(path).blocks;
      await clear(device, 'write-zeroes', { offsetBytes: 262_144, lengthBytes: 262_144 });
      expect(between).toBeLessThan(before);
      expect(statSync(path).blocks).toBeLessThan(between);
    });
  });

  test('does many slow operations at once, each with its own answer', async () => {
    await withDevice(await newImage(4_194_304), async (device) => {
      const regions = Array.from({ length: 64 }, (_, index) => ({
        offsetBytes: index * 65_536,
        lengthBytes: 65_536,
      }));
      for (const { offsetBytes } of regions)
        await writeBytes(device, offsetBytes, pattern(512, offsetBytes / 65_536));
      const all = await checksumsOf(device, wholeOf(device));
      const [sums] = await Promise.all([
        Promise.all(regions.map((range) => checksumsOf(device, range))),
        ...regions.map(() => flush(device)),
      ]);
      expect(Buffer.concat(sums).equals(all)).toBe(true);
      expect(new Set(sums.map((sum) => sum.readUInt32BE()))).toHaveLength(64);
    });
  });

  test.skipIf(native() === null)('tells where its data is, in whole sectors', async () => {
    const path = await newImage(16_777_216);
    await withDevice(path, async (device) => {
      expect(await device.nextAllocated(0)).toBeNull();
      await writeBytes(device, 4_194_304, pattern(65_536, 1));
      await writeBytes(device, 16_777_216 - 4096, pattern(4096, 2));
      expect(await device.nextAllocated(0)).toEqual({ offsetBytes: 4_194_304, lengthBytes: 65_536 });
      expect(await device.nextAllocated(4_259_840)).toEqual({ offsetBytes: 16_773_120, lengthBytes: 4096 });
      expect(await device.nextAllocated(16_777_216)).toBeNull();
    });
  });
});

describe('an open file without the C library', () => {
  test('cannot trim, calls everything data and writes zeroes as bytes', async () => {
    const path = scratch.path('test.img');
    writeFileSync(path, pattern(4_194_304, 1));
    await withoutNative(() =>
      withDevice(path, async (device) => {
        expect(device.can).toMatchObject({ trim: false, writeZeroes: true });
        const rest = { offsetBytes: 512, lengthBytes: 4_193_792 };
        expect(await device.nextAllocated(512)).toEqual(rest);
        const range = { offsetBytes: 1024, lengthBytes: 3_145_728 };
        await clear(device, 'write-zeroes', range);
        expect((await readBytes(device, range)).every((byte) => byte === 0)).toBe(true);
        expect((await readBytes(device, { offsetBytes: 512, lengthBytes: 512 })).includes(0)).toBe(false);
        const behind = { offsetBytes: 1024 + 3_145_728, lengthBytes: 512 };
        expect((await readBytes(device, behind)).includes(0)).toBe(false);
      }),
    );
  });
});

describe.runIf(canUseLoop())('disks and file systems', () => {
  test('a full file system answers ENOSPC, and what it held stays readable', async () => {
    await withMount(['-t', 'tmpfs', '-o', 'size=256k', 'none'], scratch.path('mount'), async () => {
      const path = scratch.path('mount/test.img');
      await createImage(path, 1_048_576);
      await withDevice(path, async (device) => {
        await writeBytes(device, 0, pattern(65_536, 1));
        const range = { offsetBytes: 65_536, lengthBytes: 524_288 };
        const error = await start(device, 'write', range, pattern(524_288, 2));
        expect(error).toMatchObject({ code: 'DEVICE_IO', errno: 'ENOSPC' });
        expect(error?.message).toContain('file test.img: write of');
        const kept = await readBytes(device, { offsetBytes: 0, lengthBytes: 65_536 });
        expect(kept.equals(pattern(65_536, 1))).toBe(true);
      });
    });
  });

  test('a disk with sectors of 4 KiB reads, writes, flushes, zeroes, discards and sums', async () => {
    const path = await newImage(4_194_304);
    await withLoopDevice(path, ['-b', '4096'], (disk) =>
      withDevice(disk, async (device) => {
        expect(device).toMatchObject({ kind: 'disk', sectorSizeBytes: 4096, mediaSizeBytes: 4_194_304 });
        expect(device.can.trim).toBe(native() !== null);
        const data = pattern(1_048_576, 3);
        await writeBytes(device, 1_048_576, data);
        await flush(device);
        expect(readFileSync(path).subarray(1_048_576, 2_097_152).equals(data)).toBe(true);
        const range = { offsetBytes: 1_048_576 + 4096, lengthBytes: 524_288 };
        await clear(device, 'write-zeroes', range);
        data.fill(0, 4096, 4096 + 524_288);
        const found = await readBytes(device, { offsetBytes: 1_048_576, lengthBytes: data.length });
        expect(found.equals(data)).toBe(true);
        if (device.can.trim) await clear(device, 'trim', { offsetBytes: 0, lengthBytes: 65_536 });
        expect((await checksumsOf(device, wholeOf(device))).length).toBe(64 * 8);
        expect(await device.nextAllocated(0)).toEqual(wholeOf(device));
      }),
    );
  });

  test('a disk without the C library is zeroed by plain writes', async () => {
    const path = await newImage(4_194_304);
    await withLoopDevice(path, [], (disk) =>
      withoutNative(() =>
        withDevice(disk, async (device) => {
          expect(device.can.trim).toBe(false);
          await writeBytes(device, 0, pattern(65_536, 1));
          await clear(device, 'write-zeroes', { offsetBytes: 512, lengthBytes: 2_097_152 });
          const found = await readBytes(device, { offsetBytes: 0, lengthBytes: 65_536 });
          expect(found.subarray(0, 512).equals(pattern(512, 1))).toBe(true);
          expect(found.subarray(512).every((byte) => byte === 0)).toBe(true);
        }),
      ),
    );
  });

  test('a file on a disk that vanishes answers with an errno, not with silence', async () => {
    const path = await newImage(1_048_576);
    await withLoopDevice(path, [], (disk) =>
      withDevice(disk, async (device) => {
        // The disk's file is cut: the kernel now has nowhere to read from and to write to.
        truncateSync(path, 65_536);
        execFileSync('blockdev', ['--flushbufs', disk]);
        const range = { offsetBytes: 524_288, lengthBytes: 4096 };
        const error = await start(device, 'read', range, Buffer.alloc(4096));
        expect(error).toMatchObject({ code: 'DEVICE_IO', errno: 'EIO' });
      }),
    );
  });
});
