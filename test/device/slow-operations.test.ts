import { closeSync, openSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { native } from '../../src/device/platform/native.js';
import {
  checksum,
  flush,
  probeTrim,
  trim,
  writeZeroes,
  type OpenMedium,
} from '../../src/device/slow-operations.js';
import { checksumRegions } from '../../src/protocol/region-checksums.js';
import { pattern } from '../support/device-requests.js';
import { canUseLoop, withMount } from '../support/loop-device.js';
import { makeScratch, type Scratch } from '../support/scratch.js';

const SIZE_BYTES = 3_000_832;

let scratch: Scratch;
let fds: number[];

function open(path: string, flags = 'r+'): OpenMedium {
  const fd = openSync(path, flags);
  fds.push(fd);
  return { fd, name: 'file test.img', kind: 'file' };
}

function closeAll(): void {
  for (const fd of fds) closeSync(fd);
  fds = [];
}

function image(name = 'test.img'): string {
  const path = scratch.path(name);
  writeFileSync(path, pattern(SIZE_BYTES, 1));
  return path;
}

beforeEach(() => {
  scratch = makeScratch();
  fds = [];
});
afterEach(() => {
  closeAll();
  scratch.remove();
});

describe('slow operations on a file', () => {
  test('sum regions over several pieces, the last one cut by the end', async () => {
    const medium = open(image(), 'r');
    const expected = Buffer.alloc(64 * 8);
    const expectedBytes = checksumRegions(pattern(SIZE_BYTES, 1), expected, 4);
    const sums = Buffer.alloc(expected.length);
    expect(await checksum(medium, { offsetBytes: 0, lengthBytes: SIZE_BYTES }, sums, 4)).toBe(expectedBytes);
    expect(sums.equals(expected)).toBe(true);
  });

  test('answer EIO to a sum of more than there is', async () => {
    const path = image();
    const medium = open(path, 'r');
    truncateSync(path, 1_100_000);
    const range = { offsetBytes: 0, lengthBytes: SIZE_BYTES };
    await expect(checksum(medium, range, Buffer.alloc(256), 0)).rejects.toMatchObject({
      code: 'DEVICE_IO',
      errno: 'EIO',
    });
  });

  test('zero a range and nothing around it', async () => {
    const path = image();
    await writeZeroes(open(path), { offsetBytes: 1024, lengthBytes: 2_500_096 });
    const expected = pattern(SIZE_BYTES, 1).fill(0, 1024, 1024 + 2_500_096);
    expect(readFileSync(path).equals(expected)).toBe(true);
  });

  test('answer with the errno of the system, not with success, when the file is open for reading', async () => {
    const medium = open(image(), 'r');
    const range = { offsetBytes: 0, lengthBytes: 65_536 };
    expect(await probeTrim(medium)).toBe(false);
    await expect(writeZeroes(medium, range)).rejects.toMatchObject({ code: 'DEVICE_IO', errno: 'EBADF' });
    await expect(flush({ ...medium, fd: 9999 })).rejects.toMatchObject({ errno: 'EBADF' });
  });

  test('let the event loop go on meanwhile', async () => {
    const medium = open(image());
    let turns = 0;
    let isDone = false;
    const count = (): void => {
      turns += 1;
      if (!isDone) setImmediate(count);
    };
    setImmediate(count);
    await checksum(medium, { offsetBytes: 0, lengthBytes: SIZE_BYTES }, Buffer.alloc(256), 0);
    isDone = true;
    expect(turns).toBeGreaterThan(1);
  });
});

describe.runIf(canUseLoop())('slow operations where the file system has no holes', () => {
  test('zeroes are written, and trim is refused as the probe says', async () => {
    await withMount(['-t', 'ramfs', 'none'], scratch.path('mount'), async () => {
      const path = image('mount/test.img');
      const medium = open(path);
      try {
        expect(await probeTrim(medium)).toBe(false);
        const range = { offsetBytes: 512, lengthBytes: 2_500_096 };
        await expect(trim(medium, range)).rejects.toMatchObject({ code: 'DEVICE_IO', errno: 'EOPNOTSUPP' });
        expect(readFileSync(path).equals(pattern(SIZE_BYTES, 1))).toBe(true);
        await writeZeroes(medium, range);
        const expected = pattern(SIZE_BYTES, 1).fill(0, 512, 512 + 2_500_096);
        expect(readFileSync(path).equals(expected)).toBe(true);
        expect(statSync(path).size).toBe(SIZE_BYTES);
      } finally {
        closeAll();
      }
    });
  });

  test.skipIf(native() === null)(
    'a probe finds holes on a file system that has them, and leaves the file as it is',
    async () => {
      await withMount(['-t', 'tmpfs', '-o', 'size=4m', 'none'], scratch.path('mount'), async () => {
        const path = image('mount/test.img');
        try {
          expect(await probeTrim(open(path))).toBe(true);
          expect(readFileSync(path).equals(pattern(SIZE_BYTES, 1))).toBe(true);
        } finally {
          closeAll();
        }
      });
    },
  );
});
