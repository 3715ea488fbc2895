import { execFileSync } from 'node:child_process';
import { chmodSync, linkSync, mkdirSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { basename } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { DeviceError } from '../../src/device/block-device.js';
import { probeMedia, type MediaInfo } from '../../src/device/media.js';
import { systemSources } from '../../src/device/platform/disks.js';
import { native } from '../../src/device/platform/native.js';
import { canUseLoop, withLoopDevice, withMount } from '../support/loop-device.js';
import { makeScratch, type Scratch } from '../support/scratch.js';

let scratch: Scratch;

beforeEach(() => {
  scratch = makeScratch();
});
afterEach(() => scratch.remove());

function image(name: string, sizeBytes: number): string {
  const path = scratch.path(name);
  writeFileSync(path, '');
  truncateSync(path, sizeBytes);
  return path;
}

async function errorOf(probe: Promise<MediaInfo>): Promise<DeviceError> {
  try {
    await probe;
  } catch (error) {
    if (error instanceof DeviceError) return error;
    throw error;
  }
  throw new Error('it should have been refused');
}

describe('probing a file', () => {
  test('tells its size and sectors of 512 bytes', async () => {
    const path = image('a.img', 1_048_576);
    expect(await probeMedia(path, 'rw')).toMatchObject({
      kind: 'file',
      mediaSizeBytes: 1_048_576,
      sectorSizeBytes: 512,
      isReadOnly: false,
      note: null,
    });
  });

  test('knows a file beyond 32 bits', async () => {
    const path = image('big.img', 5 * 2 ** 40);
    expect((await probeMedia(path, 'ro')).mediaSizeBytes).toBe(5 * 2 ** 40);
  });

  test('leaves out what is no whole sector, and says so', async () => {
    const path = image('odd.img', 1000);
    const info = await probeMedia(path, 'ro');
    expect(info.mediaSizeBytes).toBe(512);
    expect(info.note).toContain('last 488 bytes');
  });

  test('has one identity for a file, through links and other spellings, and another for other files', async () => {
    const path = image('a.img', 512);
    symlinkSync(path, scratch.path('link.img'));
    linkSync(path, scratch.path('hard.img'));
    const { identity } = await probeMedia(path, 'ro');
    for (const name of ['link.img', 'hard.img', `./../${basename(scratch.folder)}/a.img`]) {
      expect((await probeMedia(`${scratch.folder}/${name}`, 'rw')).identity).toBe(identity);
    }
    expect((await probeMedia(image('b.img', 512), 'ro')).identity).not.toBe(identity);
  });

  test.each([
    { what: 'an empty file', sizeBytes: 0, message: 'is empty' },
    { what: 'a file smaller than a sector', sizeBytes: 511, message: 'smaller than a sector' },
  ])('refuses $what', async ({ sizeBytes, message }) => {
    const error = await errorOf(probeMedia(image('small.img', sizeBytes), 'ro'));
    expect(error).toMatchObject({ code: 'DEVICE_OPEN', errno: 'EINVAL' });
    expect(error.message).toContain(message);
  });

  test('refuses a path that leads nowhere, with the path in the message', async () => {
    const error = await errorOf(probeMedia(scratch.path('none.img'), 'ro'));
    expect(error).toMatchObject({ code: 'DEVICE_OPEN', errno: 'ENOENT' });
    expect(error.message).toContain('none.img');
  });

  test.skipIf(process.getuid?.() === 0)('tells a file that we may not write', async () => {
    const path = image('a.img', 512);
    chmodSync(path, 0o444);
    expect(await probeMedia(path, 'ro')).toMatchObject({ isReadOnly: true });
    expect(await errorOf(probeMedia(path, 'wo'))).toMatchObject({ errno: 'EACCES' });
  });
});

describe('probing what is no medium', () => {
  test('refuses a folder with EISDIR', async () => {
    mkdirSync(scratch.path('folder'));
    expect(await errorOf(probeMedia(scratch.path('folder'), 'ro'))).toMatchObject({ errno: 'EISDIR' });
  });

  test('refuses a pipe without waiting for its other end', async () => {
    execFileSync('mkfifo', [scratch.path('pipe')]);
    expect(await errorOf(probeMedia(scratch.path('pipe'), 'ro'))).toMatchObject({ errno: 'EFTYPE' });
  });

  test('refuses a socket', async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(scratch.path('socket'), resolve));
    try {
      expect(await errorOf(probeMedia(scratch.path('socket'), 'ro'))).toMatchObject({ errno: 'EFTYPE' });
    } finally {
      await new Promise((resolve) => server.close(resolve));
    }
  });

  test.each(['/dev/null', '/dev/zero', '/dev/tty'])('refuses %s', async (path) => {
    expect(await errorOf(probeMedia(path, 'rw'))).toMatchObject({ code: 'DEVICE_OPEN', errno: 'ENODEV' });
  });
});

describe("probing a FreeBSD disk, acted by a character device and diskinfo's output", () => {
  const answering = (printed: string) => ({
    ...systemSources(),
    native: null,
    run: (program: string, args: readonly string[]) => {
      expect([program, ...args]).toEqual(['/usr/sbin/diskinfo', '/dev/null']);
      return Promise.resolve(printed);
    },
  });

  test('takes sector and media size from diskinfo', async () => {
    const printed = '/dev/null\t4096\t536870912000\t131072000\t0\t0\t8159\t255\t63\n';
    expect(await probeMedia('/dev/null', 'ro', answering(printed), 'freebsd')).toMatchObject({
      kind: 'disk',
      sectorSizeBytes: 4096,
      mediaSizeBytes: 536_870_912_000,
    });
  });

  test.each(['', 'diskinfo: /dev/null: ioctl(DIOCGMEDIASIZE) failed', '/dev/null\tmany\tbytes'])(
    'refuses a device of which diskinfo prints "%s"',
    async (printed) => {
      const error = await errorOf(probeMedia('/dev/null', 'ro', answering(printed), 'freebsd'));
      expect(error).toMatchObject({ code: 'DEVICE_OPEN', errno: 'ENODEV' });
    },
  );
});

describe.runIf(canUseLoop())('probing loop devices and mounts', () => {
  test.each([512, 4096])('tells sectors of %i bytes', async (sectorSizeBytes) => {
    const path = image('a.img', 1_048_576);
    await withLoopDevice(path, ['-b', String(sectorSizeBytes)], async (device) => {
      expect(await probeMedia(device, 'rw')).toMatchObject({
        kind: 'disk',
        mediaSizeBytes: 1_048_576,
        sectorSizeBytes,
        isReadOnly: false,
      });
    });
  });

  test.skipIf(native() === null)('tells the same without sysfs, by ioctl', async () => {
    const path = image('a.img', 1_048_576);
    await withLoopDevice(path, ['-b', '4096'], async (device) => {
      const sources = { ...systemSources(), sysFolder: scratch.path('no-sysfs') };
      expect(await probeMedia(device, 'rw', sources)).toMatchObject({
        mediaSizeBytes: 1_048_576,
        sectorSizeBytes: 4096,
      });
      const error = await errorOf(probeMedia(device, 'rw', { ...sources, native: null }));
      expect(error).toMatchObject({ code: 'DEVICE_OPEN', errno: 'EOPNOTSUPP' });
    });
  });

  test('knows a read-only one, and refuses to open it for writing', async () => {
    const path = image('a.img', 1_048_576);
    await withLoopDevice(path, ['-r'], async (device) => {
      expect(await probeMedia(device, 'ro')).toMatchObject({ isReadOnly: true });
      for (const access of ['rw', 'wo'] as const) {
        expect(await errorOf(probeMedia(device, access))).toMatchObject({ errno: 'EROFS' });
      }
    });
  });

  test('knows a file on a read-only file system', async () => {
    await withMount(['-t', 'tmpfs', 'none'], scratch.path('mount'), async () => {
      const path = image('mount/a.img', 4096);
      execFileSync('mount', ['-o', 'remount,ro', scratch.path('mount')]);
      expect(await probeMedia(path, 'ro')).toMatchObject({ isReadOnly: true, mediaSizeBytes: 4096 });
      expect(await errorOf(probeMedia(path, 'rw'))).toMatchObject({ errno: 'EROFS' });
    });
  });

  test('has one identity for a disk, by its number', async () => {
    const path = image('a.img', 1_048_576);
    await withLoopDevice(path, [], async (device) => {
      symlinkSync(device, scratch.path('disk'));
      const { identity } = await probeMedia(device, 'ro');
      expect((await probeMedia(scratch.path('disk'), 'rw')).identity).toBe(identity);
    });
  });

  test('asks the disk of a partition for its sector size', async () => {
    const path = image('a.img', 1_048_576);
    await withLoopDevice(path, [], async (device) => {
      // A sysfs in which the device is a partition of a disk with sectors of 4,096 bytes.
      const sys = scratch.path('sys');
      const number = execFileSync('stat', ['-c', '%Hr:%Lr', device], { encoding: 'utf8' }).trim();
      mkdirSync(`${sys}/disk/part`, { recursive: true });
      mkdirSync(`${sys}/disk/queue`);
      mkdirSync(`${sys}/dev/block`, { recursive: true });
      writeFileSync(`${sys}/disk/queue/logical_block_size`, '4096\n');
      writeFileSync(`${sys}/disk/part/size`, '2048\n');
      symlinkSync('../../disk/part', `${sys}/dev/block/${number}`);
      const sources = { ...systemSources(), native: null, sysFolder: sys };
      expect(await probeMedia(device, 'ro', sources)).toMatchObject({
        mediaSizeBytes: 1_048_576,
        sectorSizeBytes: 4096,
      });
    });
  });
});
