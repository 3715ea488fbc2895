import { closeSync, openSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { DeviceError } from '../../src/device/block-device.js';
import { type FileCalls, fastCalls, nodeCalls } from '../../src/device/platform/file-calls.js';
import { SyncFile } from '../../src/device/sync-file.js';
import { makeScratch, type Scratch } from '../support/scratch.js';

let scratch: Scratch;
let fds: number[];
let calls: FileCalls;

function open(path: string, flags: string): SyncFile {
  const fd = openSync(path, flags);
  fds.push(fd);
  return new SyncFile(fd, 'file test.img', calls);
}

function errorOf(run: () => void): DeviceError {
  try {
    run();
  } catch (error) {
    if (error instanceof DeviceError) return error;
    throw error;
  }
  throw new Error('it should have failed');
}

beforeEach(() => {
  scratch = makeScratch();
  fds = [];
});

afterEach(() => {
  for (const fd of fds) closeSync(fd);
  scratch.remove();
});

describe.each([
  { how: "with Node's calls", make: () => nodeCalls },
  { how: 'with the fastest calls that there are', make: fastCalls },
])('a file read and written synchronously $how', ({ make }) => {
  beforeEach(() => (calls = make()));

  test('moves whole ranges to and from the place in the buffer that the caller names', () => {
    const path = scratch.path('a.img');
    writeFileSync(path, Buffer.alloc(4096, 'a'));
    const file = open(path, 'r+');
    const buffer = Buffer.alloc(2048, '-');
    file.readSync(buffer, 512, 1024, 1024);
    expect(buffer.toString('latin1')).toBe('-'.repeat(512) + 'a'.repeat(1024) + '-'.repeat(512));
    buffer.fill('b');
    file.writeSync(buffer, 100, 512, 512);
    expect(readFileSync(path, 'latin1')).toBe('a'.repeat(512) + 'b'.repeat(512) + 'a'.repeat(3072));
  });

  test('answers EIO when the file has been cut short under it', () => {
    const path = scratch.path('a.img');
    writeFileSync(path, Buffer.alloc(4096, 'a'));
    const file = open(path, 'r');
    truncateSync(path, 1024);
    const error = errorOf(() => file.readSync(Buffer.alloc(1024), 0, 1024, 512));
    expect(error).toMatchObject({ code: 'DEVICE_IO', errno: 'EIO' });
    expect(error.message).toContain('file test.img: read of 512 bytes at byte 1024 failed: EIO');
  });

  test.each([
    { what: 'writing a file opened for reading', flags: 'r', op: 'writeSync' as const },
    { what: 'reading a file opened for writing', flags: 'a', op: 'readSync' as const },
  ])('answers EBADF when $what', ({ flags, op }) => {
    const path = scratch.path('a.img');
    writeFileSync(path, Buffer.alloc(512));
    const file = open(path, flags);
    const error = errorOf(() => file[op](Buffer.alloc(512), 0, 512, 0));
    expect(error).toMatchObject({ code: 'DEVICE_IO', errno: 'EBADF' });
    expect(error.cause).toBeInstanceOf(Error);
  });

  test.runIf(process.platform === 'linux')('answers ENOSPC when the medium is full', () => {
    const file = open('/dev/full', 'r+');
    const error = errorOf(() => file.writeSync(Buffer.alloc(512), 0, 512, 0));
    expect(error).toMatchObject({ code: 'DEVICE_IO', errno: 'ENOSPC' });
    expect(error.message).toContain('make room');
  });
});
