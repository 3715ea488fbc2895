import { closeSync, openSync, readFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type FileCalls, DirectCalls, fastCalls, nodeCalls } from '../../src/device/platform/file-calls.js';
import type { Native } from '../../src/device/platform/native.js';
import { makeScratch, type Scratch } from '../support/scratch.js';

let scratch: Scratch;

beforeEach(() => (scratch = makeScratch()));
afterEach(() => scratch.remove());

describe.each([
  { how: "Node's", make: (): FileCalls => nodeCalls },
  { how: 'the fastest that there are', make: fastCalls },
])('calls that read and write a file, $how', ({ make }) => {
  test('move bytes at a position, or where the descriptor stands, from and to the named place', () => {
    const calls = make();
    const path = scratch.path('file');
    const fd = openSync(path, 'w+');
    try {
      const from = Buffer.from(new SharedArrayBuffer(16));
      from.write('abcdefghijklmnop');
      expect(calls.writeSync(fd, from, 2, 4, null)).toBe(4);
      expect(calls.writeSync(fd, from, 8, 2, 6)).toBe(2);
      expect(calls.writeSync(fd, from.subarray(10), 1, 2, null)).toBe(2);
      expect(readFileSync(path, 'latin1')).toBe('cdeflmij');
      const into = Buffer.alloc(8, '-');
      expect(calls.readSync(fd, into, 1, 3, 4)).toBe(3);
      expect(calls.readSync(fd, into, 6, 2, null)).toBe(2);
      expect(into.toString('latin1')).toBe('-lmi--ij');
      expect(calls.readSync(fd, into, 0, 8, null)).toBe(0);
    } finally {
      closeSync(fd);
    }
  });

  test('throw the error of the system', () => {
    const calls = make();
    const fd = openSync(scratch.path('file'), 'w');
    try {
      expect(() => calls.readSync(fd, Buffer.alloc(8), 0, 8, 0)).toThrow(
        expect.objectContaining({ code: 'EBADF' }),
      );
    } finally {
      closeSync(fd);
    }
  });

  test.each([
    { what: 'before its start', at: -1, lengthBytes: 4 },
    { what: 'behind its end', at: 5, lengthBytes: 4 },
  ])('never touch memory of a buffer $what', ({ at, lengthBytes }) => {
    const calls = make();
    expect(() => calls.readSync(0, Buffer.alloc(8), at, lengthBytes, null)).toThrow();
    expect(() => calls.writeSync(1, Buffer.alloc(8), at, lengthBytes, null)).toThrow();
  });
});

describe('direct calls, acted', () => {
  const interrupted = Object.assign(new Error('acted'), { code: 'EINTR' });

  test('repeat a write that a signal interrupts', () => {
    const called: string[] = [];
    const acted: Native = {
      system: 'linux',
      call: () => 0,
      callAsync: () => Promise.reject(new Error('not acted')),
      function: (name) => () => (called.push(name) < 3 ? -1 : 8),
      failure: () => interrupted,
      addressOf: () => 4096,
    };
    expect(new DirectCalls(acted).writeSync(1, Buffer.alloc(8), 0, 8, 512)).toBe(8);
    expect(called).toEqual(['pwrite', 'pwrite', 'pwrite']);
  });
});
