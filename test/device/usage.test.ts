import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createImage, openFile } from '../../src/device/file-device.js';
import { linuxUse, SYSTEM_USE } from '../../src/device/platform/linux-use.js';
import { describeUse } from '../../src/device/usage.js';
import { FaultDevice } from '../support/fault-device.js';
import { canUseLoop, withLoopDevice, withMount } from '../support/loop-device.js';
import { MemoryDevice } from '../support/memory-device.js';
import { RecorderDevice } from '../support/recorder-device.js';
import { makeScratch, type Scratch } from '../support/scratch.js';

const SIZE_BYTES = 4_194_304;

/** Bytes at a place of the medium. */
type Piece = readonly [at: number, bytes: string | Buffer];

function memoryWith(...pieces: readonly Piece[]): MemoryDevice {
  const device = new MemoryDevice({ mediaSizeBytes: SIZE_BYTES });
  for (const [at, bytes] of pieces) {
    (typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes).copy(device.data, at);
  }
  return device;
}

const BOOT: Piece = [510, Buffer.from([0x55, 0xaa])];
const EXT: Piece = [1080, Buffer.from([0x53, 0xef])];
const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};

const HELD: readonly { what: string; pieces: readonly Piece[] }[] = [
  { what: 'an ext2 file system', pieces: [EXT] },
  { what: 'an ext3 file system', pieces: [EXT, [1116, u32(0x4)]] },
  { what: 'an ext4 file system', pieces: [EXT, [1116, u32(0x4)], [1120, u32(0x42)]] },
  { what: 'an XFS file system', pieces: [[0, 'XFSB']] },
  { what: 'a Btrfs file system', pieces: [[65_600, '_BHRfS_M']] },
  { what: 'a UFS2 file system', pieces: [[66_908, u32(0x1954_0119)]] },
  { what: 'a UFS2 file system', pieces: [[66_908, u32(0x1954_0119).reverse()]] },
  { what: 'a UFS1 file system', pieces: [[9564, u32(0x0001_1954)]] },
  { what: 'a ZFS pool member', pieces: [[131_072 + 5 * 1024, u32(0x00ba_b10c)]] },
  { what: 'a ZFS pool member', pieces: [[131_072 + 4, u32(0x00ba_b10c).reverse()]] },
  { what: 'a FAT file system', pieces: [BOOT, [54, 'FAT16   ']] },
  { what: 'a FAT file system', pieces: [BOOT, [82, 'FAT32   ']] },
  { what: 'an NTFS file system', pieces: [BOOT, [3, 'NTFS    ']] },
  { what: 'an exFAT file system', pieces: [BOOT, [3, 'EXFAT   ']] },
  { what: 'an ISO 9660 file system', pieces: [[32_769, 'CD001']] },
  { what: 'a LUKS encrypted volume', pieces: [[0, 'LUKS\xba\xbe']] },
  { what: 'an LVM physical volume', pieces: [[512, 'LABELONE']] },
  { what: 'a Linux RAID component', pieces: [[4096, u32(0xa92b_4efc)]] },
  { what: 'Linux swap space', pieces: [[4086, 'SWAPSPACE2']] },
  {
    what: 'a GPT partition table',
    pieces: [BOOT, [450, Buffer.from([0xee])], [458, u32(1)], [512, 'EFI PART']],
  },
  { what: 'a GPT partition table', pieces: [[SIZE_BYTES - 512, 'EFI PART']] },
  { what: 'an MBR partition table', pieces: [BOOT, [450, Buffer.from([0xa5])], [458, u32(2048)]] },
  { what: 'a gmirror label', pieces: [[SIZE_BYTES - 512, 'GEOM::MIRROR']] },
  { what: 'a label of GEOM class ELI', pieces: [[SIZE_BYTES - 512, 'GEOM::ELI']] },
  { what: 'data', pieces: [BOOT] },
  { what: 'data', pieces: [[1_048_575, 'x']] },
  { what: 'data', pieces: [[SIZE_BYTES - 1, 'x']] },
  { what: 'data', pieces: [[SIZE_BYTES - 65_536, 'x']] },
];

describe('what a medium holds', () => {
  test.each(HELD)('is told as $what', async ({ what, pieces }) => {
    expect(await describeUse(memoryWith(...pieces))).toBe(`holds ${what}`);
  });

  test('is nothing when both ends are zeroes', async () => {
    expect(await describeUse(memoryWith())).toBeNull();
    expect(await describeUse(memoryWith([2_097_152, 'only the ends are looked at']))).toBeNull();
  });

  test('is found on media of one sector, and with sectors of 4 KiB', async () => {
    expect(await describeUse(new MemoryDevice({ mediaSizeBytes: 512 }))).toBeNull();
    const device = new MemoryDevice({ mediaSizeBytes: SIZE_BYTES, sectorSizeBytes: 4096 });
    device.data.write('GEOM::MIRROR', SIZE_BYTES - 4096, 'latin1');
    expect(await describeUse(device)).toBe('holds a gmirror label');
    device.data.fill(0);
    device.data.write('EFI PART', 4096, 'latin1');
    expect(await describeUse(device)).toBe('holds a GPT partition table');
  });

  test('is read in pieces that every server takes, and never written', async () => {
    const recorder = new RecorderDevice(memoryWith());
    await describeUse(recorder);
    const started = recorder.events.filter(({ what }) => what === 'start');
    expect(started.length).toBeGreaterThan(0);
    expect(started.every(({ op, lengthBytes }) => op === 'read' && lengthBytes <= 131_072)).toBe(true);
  });

  test('is unknown when it may only be written, and an error when it cannot be read', async () => {
    const writeOnly = new MemoryDevice({ can: { read: false } });
    expect(await describeUse(writeOnly)).toContain('unknown');
    const broken = new FaultDevice(memoryWith(), () => ({ kind: 'fail', errno: 'EIO' }));
    await expect(describeUse(broken)).rejects.toMatchObject({ code: 'DEVICE_IO', errno: 'EIO' });
  });
});

describe.runIf(process.platform === 'linux')('what Linux uses', () => {
  let scratch: Scratch;

  beforeEach(() => {
    scratch = makeScratch();
  });
  afterEach(() => scratch.remove());

  async function image(): Promise<string> {
    const path = scratch.path('test.img');
    await createImage(path, 16_777_216);
    return path;
  }

  async function useOf(path: string): Promise<string | null> {
    const device = await openFile(path, { access: 'ro' });
    try {
      return await describeUse(device, path);
    } finally {
      await device.close();
    }
  }

  test('a fresh image is free, and one that is not there too', async () => {
    expect(await useOf(await image())).toBeNull();
    expect(await linuxUse(scratch.path('nothing'))).toBeNull();
  });

  test('a swap file is in use, also with a blank in its name and through a link', async () => {
    const path = scratch.path('swap file');
    await createImage(path, 65_536);
    symlinkSync(path, scratch.path('link'));
    const escaped = path.replaceAll(' ', '\\040');
    writeFileSync(scratch.path('swaps'), `Filename Type Size Used Priority\n${escaped} file 60 0 -2\n`);
    const sources = { ...SYSTEM_USE, swapsPath: scratch.path('swaps') };
    expect(await linuxUse(path, sources)).toBe('is in use as swap space');
    expect(await linuxUse(scratch.path('link'), sources)).toBe('is in use as swap space');
    expect(await linuxUse(await image(), sources)).toBeNull();
  });

  describe.runIf(canUseLoop())('with loop devices', () => {
    test('an image that backs a loop device is in use, and free afterwards', async () => {
      const path = await image();
      symlinkSync(path, scratch.path('link.img'));
      await withLoopDevice(path, [], async (disk) => {
        expect(await useOf(path)).toBe(`backs ${disk}`);
        expect(await useOf(scratch.path('link.img'))).toBe(`backs ${disk}`);
        expect(await useOf(disk)).toBeNull();
      });
      expect(await useOf(path)).toBeNull();
    });

    const canMakeExt4 =
      process.env['CI'] === 'true' || ['/sbin', '/usr/sbin'].some((each) => existsSync(`${each}/mkfs.ext4`));

    test.runIf(canMakeExt4)('a real ext4 file system is recognised, and its disk when mounted', async () => {
      const path = await image();
      execFileSync('mkfs.ext4', ['-q', '-F', path], { stdio: 'pipe' });
      expect(await useOf(path)).toBe('holds an ext4 file system');
      await withLoopDevice(path, [], async (disk) => {
        const folder = scratch.path('mount point');
        await withMount([disk], folder, async () => {
          expect(await useOf(disk)).toBe(`is mounted on ${folder}`);
        });
        expect(await useOf(disk)).toBe('holds an ext4 file system');
      });
    });

    test('a disk with a mounted partition, or held by the device mapper, is in use', async () => {
      await withLoopDevice(await image(), [], async (disk) => {
        const number = execFileSync('stat', ['-c', '%Hr:%Lr', disk], { encoding: 'utf8' }).trim();
        const sysFolder = scratch.path('sys');
        const folder = `${sysFolder}/dev/block/${number}`;
        mkdirSync(`${folder}/part1`, { recursive: true });
        writeFileSync(`${folder}/part1/partition`, '1\n');
        writeFileSync(`${folder}/part1/dev`, '259:7\n');
        writeFileSync(scratch.path('mountinfo'), '30 1 259:7 / /srv rw - ext4 /dev/nowhere rw\n');
        const sources = { ...SYSTEM_USE, sysFolder, mountinfoPath: scratch.path('mountinfo') };
        expect(await linuxUse(disk, sources)).toBe('is mounted on /srv');
        writeFileSync(scratch.path('mountinfo'), '');
        expect(await linuxUse(disk, sources)).toBeNull();
        mkdirSync(`${folder}/holders/dm-0`, { recursive: true });
        expect(await linuxUse(disk, sources)).toBe('is a part of dm-0');
      });
    });
  });
});
