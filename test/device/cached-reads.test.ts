import { randomBytes } from 'node:crypto';
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { CachedReads } from '../../src/device/platform/cached-reads.js';
import { native, type Native } from '../../src/device/platform/native.js';
import { makeScratch, type Scratch } from '../support/scratch.js';

const SIZE_BYTES = 1_048_576;
const system = native();

let scratch: Scratch;
let fd: number;
let content: Buffer;

beforeEach(() => {
  scratch = makeScratch();
  content = randomBytes(SIZE_BYTES);
  writeFileSync(scratch.path('image'), content);
  readFileSync(scratch.path('image'));
  fd = openSync(scratch.path('image'), 'r');
});
afterEach(() => {
  closeSync(fd);
  scratch.remove();
});

/** The system's calls, with another preadv2. */
const withPreadv2 = (base: Native, preadv2: () => number): Native => ({
  system: 'linux',
  addressOf: (buffer) => base.addressOf(buffer),
  call: () => preadv2(),
  callAsync: () => Promise.reject(new Error('not expected')),
  function: () => preadv2,
  failure: () => new Error('not expected'),
});

const failing = (code: string) => (): never => {
  throw Object.assign(new Error(code), { code });
};

describe.skipIf(process.platform !== 'linux' || system === null)('reads of cached data', () => {
  test('fill exactly the wanted part of the buffer, or say that they did not', () => {
    const reads = new CachedReads(fd);
    const pooled = Buffer.allocUnsafe(100);
    const slab = Buffer.alloc(65_536);
    for (const [into, at, lengthBytes, offsetBytes] of [
      [slab, 0, 65_536, 4096],
      [slab, 4096, 512, 0],
      [slab.subarray(1000), 8, 4096, SIZE_BYTES - 4096],
      [pooled, 50, 50, 12_345],
    ] as const) {
      into.fill(0xaa);
      if (!reads.read(into, at, lengthBytes, offsetBytes)) continue; // a file system that can't
      expect(
        into.subarray(at, at + lengthBytes).equals(content.subarray(offsetBytes, offsetBytes + lengthBytes)),
      ).toBe(true);
      expect(into.subarray(0, at).every((byte) => byte === 0xaa)).toBe(true);
      expect(into.subarray(at + lengthBytes).every((byte) => byte === 0xaa)).toBe(true);
    }
  });

  test('are not there behind the end of the file', () => {
    const reads = new CachedReads(fd);
    expect(reads.read(Buffer.alloc(4096), 0, 4096, SIZE_BYTES - 512)).toBe(false);
  });

  test('are tried again after what would have had to wait', () => {
    if (system === null) return;
    const answers = [failing('EAGAIN'), failing('EIO'), () => 4096];
    const reads = new CachedReads(
      fd,
      withPreadv2(system, () => answers.shift()?.() ?? 0),
    );
    const buffer = Buffer.alloc(4096);
    expect([0, 1, 2].map(() => reads.read(buffer, 0, 4096, 0))).toEqual([false, false, true]);
  });

  test('are given up for good on a file system that knows nothing of them', () => {
    if (system === null) return;
    let calls = 0;
    const reads = new CachedReads(
      fd,
      withPreadv2(system, () => {
        calls += 1;
        return failing('EOPNOTSUPP')();
      }),
    );
    const buffer = Buffer.alloc(4096);
    expect([0, 1, 2].map(() => reads.read(buffer, 0, 4096, 0))).toEqual([false, false, false]);
    expect(calls).toBe(1);
  });
});

test('without the C library nothing is ever there', () => {
  expect(new CachedReads(fd, null).read(Buffer.alloc(4096), 0, 4096, 0)).toBe(false);
});
