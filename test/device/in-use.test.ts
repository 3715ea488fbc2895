import { closeSync, constants, fstatSync, openSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createImage, openFile, openFlags } from '../../src/device/file-device.js';
import { lockerIn } from '../../src/device/in-use.js';
import { lockFileExclusive } from '../../src/device/platform/files.js';
import { makeScratch, type Scratch } from '../support/scratch.js';

let scratch: Scratch;
beforeEach(() => (scratch = makeScratch()));
afterEach(() => scratch.remove());

const hasFlock = spawnSync('flock', ['--version']).error === undefined;

test('who opens a file alone keeps others out who ask for that, until it is closed', async () => {
  const path = scratch.path('a.img');
  await createImage(path, 65_536);
  const first = await openFile(path, { access: 'rw', alone: true });
  const second = openFile(path, { access: 'rw', alone: true });
  await expect(second).rejects.toMatchObject({ code: 'DEVICE_REFUSED', errno: 'EBUSY' });
  await (await openFile(path, { access: 'ro' })).close();
  await first.close();
  await (await openFile(path, { access: 'rw', alone: true })).close();
});

test('opening a file leaves the time of its last write as it is', async () => {
  const path = scratch.path('a.img');
  await createImage(path, 65_536);
  utimesSync(path, 1_000_000, 1_000_000);
  const file = await openFile(path, { access: 'rw', alone: true });
  expect(await file.modifiedNs()).toBe(1_000_000_000_000_000n);
  await file.setModifiedNs(2_000_000_000_000_000n);
  expect(await file.modifiedNs()).toBe(2_000_000_000_000_000n);
  await file.close();
});

test.skipIf(!hasFlock)(
  'without the C library flock(1) takes the lock, which stays with the open file',
  () => {
    writeFileSync(scratch.path('lock'), '');
    const [first, second] = [openSync(scratch.path('lock'), 'r+'), openSync(scratch.path('lock'), 'r+')];
    try {
      expect(lockFileExclusive(first, null)).toBe('locked');
      expect(lockFileExclusive(second, null)).toBe('held');
    } finally {
      closeSync(first);
      expect(lockFileExclusive(second, null)).toBe('locked');
      closeSync(second);
    }
  },
);

test.skipIf(process.platform !== 'linux')('the owner of a lock is found among all locks', () => {
  writeFileSync(scratch.path('lock'), '');
  const fd = openSync(scratch.path('lock'), 'r+');
  try {
    if (lockFileExclusive(fd) !== 'locked') return;
    const stat = fstatSync(fd, { bigint: true });
    expect(lockerIn(readFileSync('/proc/locks', 'utf8'), stat)).not.toBeNull();
    expect(
      lockerIn('1: POSIX ADVISORY WRITE 7 08:01:5 0 EOF\n2: FLOCK ADVISORY WRITE 9 08:01:5 0 EOF', {
        ino: 5n,
      }),
    ).toBe(9);
    expect(lockerIn('', stat)).toBeNull();
  } finally {
    closeSync(fd);
  }
});

test.each([
  ['a file on Linux', 'file', 'linux', true, 0],
  ['a disk on Linux', 'disk', 'linux', true, constants.O_EXCL],
  ['a file on FreeBSD', 'file', 'freebsd', true, 0],
  ['a file on FreeBSD without the C library', 'file', 'freebsd', false, 0x20 + constants.O_NONBLOCK],
] as const)('%s is opened alone with flags of its own', (_what, kind, platform, hasNative, more) => {
  const system = { platform, hasNative };
  expect(openFlags({ access: 'rw', alone: true }, kind, system)).toBe(constants.O_RDWR + more);
  expect(openFlags({ access: 'rw' }, kind, system)).toBe(constants.O_RDWR);
});
