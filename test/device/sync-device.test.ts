import { truncateSync } from 'node:fs';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createImage } from '../../src/device/file-device.js';
import { openSyncFile, type SyncFileDevice } from '../../src/device/sync-device.js';
import { pattern, request, start } from '../support/device-requests.js';
import { makeScratch, type Scratch } from '../support/scratch.js';

let scratch: Scratch;
let device: SyncFileDevice;

beforeEach(async () => {
  scratch = makeScratch();
  await createImage(scratch.path('disk.img'), 1_048_576);
  device = await openSyncFile(scratch.path('disk.img'), { access: 'rw' });
});

afterEach(async () => {
  await device.close();
  scratch.remove();
});

test('everything that one turn starts is done in one microtask, in order of start', async () => {
  const done: number[] = [];
  for (let index = 0; index < 8; index++) {
    const range = { offsetBytes: index * 512, lengthBytes: 512, buffer: pattern(512, index) };
    device.start(request({ op: 'write', ...range, done: () => void done.push(index) }));
  }
  expect(done).toEqual([]);
  await Promise.resolve();
  expect(done).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
});

test('a file that was cut fails reads behind its end with EIO, and serves what is left', async () => {
  truncateSync(scratch.path('disk.img'), 4096);
  const buffer = Buffer.alloc(8192);
  const behind = await start(device, 'read', { offsetBytes: 0, lengthBytes: 8192 }, buffer);
  expect(behind).toMatchObject({ code: 'DEVICE_IO', errno: 'EIO' });
  expect(behind?.message).toContain('file disk.img: read of 4096 bytes at byte 4096');
  expect(await start(device, 'read', { offsetBytes: 0, lengthBytes: 4096 }, buffer)).toBeNull();
});

test('a closed device fails requests, and close() may be called twice', async () => {
  await Promise.all([device.close(), device.close()]);
  const outcome = start(device, 'read', { offsetBytes: 0, lengthBytes: 512 }, Buffer.alloc(512));
  expect(await outcome).toMatchObject({ code: 'DEVICE_CLOSED' });
});
