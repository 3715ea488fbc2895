import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { BlockDevice, BlockIo, DeviceError } from '../../src/device/block-device.js';
import {
  checksumRegions,
  checksumsBytes,
  REGION_CHECKSUM_BYTES,
} from '../../src/protocol/region-checksums.js';
import { REGION_SIZE_BYTES } from '../../src/protocol/geometry.js';
import {
  checksumsOf,
  clear,
  flush,
  pattern,
  readBytes,
  request,
  start,
  writeBytes,
} from './device-requests.js';
import { makeScratch, type Scratch } from './scratch.js';

/**
 * What every BlockDevice does. `factory` makes a fresh one that can read and write, is zeroed and has at least 256 KiB;
 * the suite closes it. What the factory starts besides it ends itself in `dispose`.
 */
export function describeBlockDevice(
  name: string,
  factory: (scratch: Scratch) => Promise<BlockDevice>,
  dispose: () => Promise<void> = () => Promise.resolve(),
): void {
  describe(`${name} as a block device`, () => {
    let scratch: Scratch;
    let device: BlockDevice;

    beforeEach(async () => {
      scratch = makeScratch();
      device = await factory(scratch);
    });

    afterEach(async () => {
      await device.close();
      await dispose();
      scratch.remove();
    });

    describeTransfers(() => device);
    describeOtherOps(() => device);
    describeCompletion(() => device);
    describeBugs(() => device);
    describeClose(() => device);
  });
}

/** Places that are easily got wrong, as offset and length in sectors, the offset from the end if negative. */
const PLACES = [
  { what: 'the first sector', atSectors: 0, sectors: 1 },
  { what: 'the last sector', atSectors: -1, sectors: 1 },
  { what: 'a few sectors in the middle', atSectors: 13, sectors: 5 },
  { what: 'sectors across the border of a region', atSectors: 15, sectors: 3 },
];

function describeTransfers(device: () => BlockDevice): void {
  test('tells a size in whole sectors', () => {
    const { mediaSizeBytes, sectorSizeBytes } = device();
    expect(Math.log2(sectorSizeBytes) % 1).toBe(0);
    expect(mediaSizeBytes % sectorSizeBytes).toBe(0);
    expect(Number.isSafeInteger(mediaSizeBytes)).toBe(true);
    expect(mediaSizeBytes).toBeGreaterThanOrEqual(262_144);
  });

  test.each(PLACES)('reads back what was written to $what, and nothing around it', async (place) => {
    const { sectorSizeBytes, mediaSizeBytes } = device();
    const offsetBytes = place.atSectors * sectorSizeBytes + (place.atSectors < 0 ? mediaSizeBytes : 0);
    const data = pattern(place.sectors * sectorSizeBytes, 1);
    await writeBytes(device(), offsetBytes, data);
    const expected = Buffer.alloc(262_144);
    const windowAt = Math.min(offsetBytes, mediaSizeBytes - expected.length);
    data.copy(expected, offsetBytes - windowAt);
    const found = await readBytes(device(), { offsetBytes: windowAt, lengthBytes: expected.length });
    expect(found.equals(expected)).toBe(true);
  });

  test('uses its part of a buffer only, and leaves the data of a write as it is', async () => {
    const size = device().sectorSizeBytes;
    const lent = pattern(size * 3, 2);
    const before = Buffer.from(lent);
    expect(await start(device(), 'write', { offsetBytes: size, lengthBytes: size }, lent, size)).toBeNull();
    expect(lent.equals(before)).toBe(true);
    const target = Buffer.alloc(size * 3, 0xee);
    expect(await start(device(), 'read', { offsetBytes: size, lengthBytes: size }, target, 7)).toBeNull();
    expect(target.subarray(7, 7 + size).equals(lent.subarray(size, size * 2))).toBe(true);
    expect(target.subarray(0, 7).every((byte) => byte === 0xee)).toBe(true);
    expect(target.subarray(7 + size).every((byte) => byte === 0xee)).toBe(true);
  });

  test('moves 256 KiB in one request', async () => {
    const data = pattern(262_144, 3);
    await writeBytes(device(), 0, data);
    expect((await readBytes(device(), { offsetBytes: 0, lengthBytes: data.length })).equals(data)).toBe(true);
  });

  test('shows a write to every read that starts after it was done', async () => {
    const size = device().sectorSizeBytes;
    for (let seed = 0; seed < 20; seed++) {
      const data = pattern(size, seed);
      await writeBytes(device(), size * 2, data);
      const found = await readBytes(device(), { offsetBytes: size * 2, lengthBytes: size });
      expect(found.equals(data)).toBe(true);
    }
  });

  test('leaves each sector with one of two overlapping writes, whole', async () => {
    const size = device().sectorSizeBytes;
    const [one, two] = [Buffer.alloc(size * 4, 0x11), Buffer.alloc(size * 4, 0x22)];
    const writes = [writeBytes(device(), 0, one), writeBytes(device(), size * 2, two)];
    await Promise.all(writes);
    const found = await readBytes(device(), { offsetBytes: 0, lengthBytes: size * 6 });
    const sectors = Array.from({ length: 6 }, (_, index) => found.subarray(index * size, (index + 1) * size));
    for (const [index, sector] of sectors.entries()) {
      const allowed = index < 2 ? [0x11] : index < 4 ? [0x11, 0x22] : [0x22];
      expect(allowed.some((byte) => sector.every((each) => each === byte))).toBe(true);
    }
  });
}

function describeOtherOps(device: () => BlockDevice): void {
  test('flushes, if it says that it can', async (context) => {
    if (!device().can.flush) return context.skip();
    await writeBytes(device(), 0, pattern(device().sectorSizeBytes, 4));
    await flush(device());
  });

  test.each(['write-zeroes', 'trim'] as const)('does %s to the range and nothing else', async (op) => {
    const { sectorSizeBytes: size, can } = device();
    if (!(op === 'trim' ? can.trim : can.writeZeroes)) return; // describeBugs shows that it is refused.
    const data = pattern(262_144, 5);
    await writeBytes(device(), 0, data);
    const range = { offsetBytes: size * 3, lengthBytes: 131_072 };
    await clear(device(), op, range);
    const found = await readBytes(device(), { offsetBytes: 0, lengthBytes: data.length });
    if (op === 'trim')
      found.copy(data, range.offsetBytes, range.offsetBytes, range.offsetBytes + range.lengthBytes);
    else data.fill(0, range.offsetBytes, range.offsetBytes + range.lengthBytes);
    expect(found.equals(data)).toBe(true);
  });

  test('sums regions up to the end of the medium, into its part of the buffer', async (context) => {
    if (!device().can.checksum) return context.skip();
    const { mediaSizeBytes, sectorSizeBytes } = device();
    await writeBytes(device(), mediaSizeBytes - sectorSizeBytes, pattern(sectorSizeBytes, 6));
    await writeBytes(device(), 0, pattern(sectorSizeBytes, 7));
    const lengthBytes = Math.min(mediaSizeBytes, 1_048_576);
    const offsetBytes = Math.floor((mediaSizeBytes - lengthBytes) / REGION_SIZE_BYTES) * REGION_SIZE_BYTES;
    const tail = { offsetBytes, lengthBytes: mediaSizeBytes - offsetBytes };
    const data = await readBytes(device(), tail);
    const expected = Buffer.alloc(16 + checksumsBytes(tail.lengthBytes), 0xee);
    checksumRegions(data, expected, 4);
    const sums = Buffer.alloc(expected.length, 0xee);
    expect(await start(device(), 'checksum', tail, sums, 4)).toBeNull();
    expect(sums.equals(expected)).toBe(true);
    const first = await checksumsOf(device(), { offsetBytes: 0, lengthBytes: REGION_SIZE_BYTES });
    const region = await readBytes(device(), { offsetBytes: 0, lengthBytes: REGION_SIZE_BYTES });
    checksumRegions(region, expected, 0);
    expect(first.equals(expected.subarray(0, REGION_CHECKSUM_BYTES))).toBe(true);
  });
}

function describeCompletion(device: () => BlockDevice): void {
  test('calls done once for each of many requests at once, and never before start() has returned', async () => {
    const size = device().sectorSizeBytes;
    const doneCounts = Array.from({ length: 64 }, () => 0);
    let isStarting = false;
    let early = 0;
    await new Promise<void>((resolve, reject) => {
      let left = doneCounts.length;
      const finished = (index: number, error: DeviceError | null): void => {
        doneCounts[index] = (doneCounts[index] ?? 0) + 1;
        if (isStarting) early += 1;
        if (error !== null) reject(error);
        left -= 1;
        if (left === 0) resolve();
      };
      for (let index = 0; index < doneCounts.length; index++) {
        const range = { offsetBytes: index * size, lengthBytes: size, buffer: pattern(size, index) };
        isStarting = true;
        device().start(request({ op: 'write', ...range, done: (error) => finished(index, error) }));
        isStarting = false;
      }
    });
    await nextTurn();
    await nextTurn();
    expect(early).toBe(0);
    expect(doneCounts.every((count) => count === 1)).toBe(true);
    const found = await readBytes(device(), { offsetBytes: 0, lengthBytes: 64 * size });
    const expected = Buffer.concat(Array.from({ length: 64 }, (_, index) => pattern(size, index)));
    expect(found.equals(expected)).toBe(true);
  });

  test('lets a request be started from within done, with the same object', async () => {
    const size = device().sectorSizeBytes;
    const buffer = pattern(size, 8);
    const offsets: number[] = [];
    await new Promise<void>((resolve) => {
      const io = {
        ...request({ op: 'write', lengthBytes: size, buffer }),
        offsetBytes: 0,
        done(): void {
          offsets.push(io.offsetBytes);
          io.offsetBytes += size;
          if (offsets.length === 10) resolve();
          else device().start(io);
        },
      };
      device().start(io);
    });
    expect(offsets).toEqual(Array.from({ length: 10 }, (_, index) => index * size));
    const last = await readBytes(device(), { offsetBytes: 9 * size, lengthBytes: size });
    expect(last.equals(buffer)).toBe(true);
  });
}

function describeBugs(device: () => BlockDevice): void {
  const cases: readonly { what: string; io: (size: number, mediaSizeBytes: number) => BlockIo }[] = [
    { what: 'of nothing', io: (size) => read(size, 0, 0) },
    { what: 'of half a sector', io: (size) => read(size, 0, size / 2) },
    { what: 'from inside a sector', io: (size) => read(size, size / 2, size) },
    { what: 'that ends behind the medium', io: (size, media) => read(size, media - size, size * 2) },
    { what: 'behind the medium', io: (size, media) => read(size, media, size) },
    { what: 'before the medium', io: (size) => read(size, -size, size) },
    { what: 'at no number', io: (size) => read(size, Number.NaN, size) },
    { what: 'that wraps', io: (size) => read(size, 2 ** 64 - size, size * 2) },
    { what: 'without a buffer', io: (size) => request({ op: 'read', lengthBytes: size }) },
    {
      what: 'beyond its buffer',
      io: (size) => request({ op: 'read', lengthBytes: size, buffer: Buffer.alloc(size), bufferAt: 1 }),
    },
  ];

  test.each(cases)('stops on a read $what, which is a bug of the caller', ({ io }) => {
    const { sectorSizeBytes, mediaSizeBytes } = device();
    expect(() => device().start(io(sectorSizeBytes, mediaSizeBytes))).toThrow(/^bug: /);
  });

  test('stops on what it says that it cannot do', () => {
    const { can, sectorSizeBytes } = device();
    const range = { offsetBytes: 0, lengthBytes: sectorSizeBytes };
    if (!can.trim) expect(() => device().start(request({ op: 'trim', ...range }))).toThrow(/^bug: /);
    if (!can.writeZeroes) {
      expect(() => device().start(request({ op: 'write-zeroes', ...range }))).toThrow(/^bug: /);
    }
    if (!can.flush) expect(() => device().start(request({ op: 'flush' }))).toThrow(/^bug: /);
    if (!can.checksum) {
      const io = request({
        op: 'checksum',
        lengthBytes: REGION_SIZE_BYTES,
        buffer: Buffer.alloc(REGION_CHECKSUM_BYTES),
      });
      expect(() => device().start(io)).toThrow(/^bug: /);
    }
  });
}

const read = (sectorSizeBytes: number, offsetBytes: number, lengthBytes: number): BlockIo =>
  request({ op: 'read', offsetBytes, lengthBytes, buffer: Buffer.alloc(sectorSizeBytes * 2) });

function describeClose(device: () => BlockDevice): void {
  test('is closed only when every started request is done', async () => {
    const size = device().sectorSizeBytes;
    let left = 32;
    const data = pattern(size, 9);
    for (let index = 0; index < 32; index++) {
      const done = (error: DeviceError | null): void => {
        // Those that were not done yet may be given up, but not forgotten.
        if (error !== null) expect(error.code).toBe('DEVICE_CLOSED');
        left -= 1;
      };
      device().start(
        request({ op: 'write', offsetBytes: index * size, lengthBytes: size, buffer: data, done }),
      );
    }
    await device().close();
    expect(left).toBe(0);
  });

  test('may be closed twice, and at the same time', async () => {
    await Promise.all([device().close(), device().close()]);
    await device().close();
  });

  test('answers requests after close() with DEVICE_CLOSED', async () => {
    await device().close();
    const size = device().sectorSizeBytes;
    let isStarting = true;
    const error = await new Promise<DeviceError | null>((resolve, reject) => {
      const done = (outcome: DeviceError | null): void => {
        if (isStarting) reject(new Error('done before start() had returned'));
        resolve(outcome);
      };
      device().start(request({ op: 'read', lengthBytes: size, buffer: Buffer.alloc(size), done }));
      isStarting = false;
    });
    expect(error?.code).toBe('DEVICE_CLOSED');
  });
}
