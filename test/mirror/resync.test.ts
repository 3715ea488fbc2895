import { describe, expect, test } from 'vitest';
import type { BlockIo } from '../../src/device/block-device.js';
import { REGION_SIZE_BYTES } from '../../src/protocol/geometry.js';
import { flush, start, writeBytes } from '../support/device-requests.js';
import { type Rig, lost, makeRig, type RigOptions } from '../support/mirror-rig.js';
import { SeededRandom } from '../support/seeded-random.js';

const MIB = 1_048_576;

const disk = (rig: Rig, slot: number) => {
  const found = rig.disks[slot];
  if (found === undefined) throw new Error(`no disk ${slot}`);
  return found;
};

/** How many bytes of each kind of request a disk is asked for. */
function counted(rig: Rig, slot: number): Record<BlockIo['op'], number> {
  const bytes = { read: 0, write: 0, flush: 0, trim: 0, 'write-zeroes': 0, checksum: 0 };
  disk(rig, slot).fault.plan = (io) => {
    bytes[io.op] += io.lengthBytes;
    return null;
  };
  return bytes;
}

/** Both disks hold the same bytes, none of them zero; then the second is lost. */
async function withLoss(options: RigOptions = {}): Promise<Rig> {
  const rig = makeRig(options);
  const [one, two] = [disk(rig, 0).memory.data, disk(rig, 1).memory.data];
  for (let at = 0; at < one.length; at += 4) one.writeUInt32LE(at + 1, at);
  one.copy(two);
  rig.mirror.drop(rig.component(1), lost('disk1'));
  await rig.settle();
  return rig;
}

const areEqual = (rig: Rig): boolean => disk(rig, 0).memory.data.equals(disk(rig, 1).memory.data);

describe('a resync with checksums', () => {
  test('of everything sends nothing that is equal, and what differs by region', async () => {
    const rig = await withLoss();
    const target = disk(rig, 1).memory.data;
    const different = [3, 5, 6, 100, 255];
    for (const region of different) target[region * REGION_SIZE_BYTES + 17] = 0xee;
    rig.component(1).isFull = true;
    const arrival = rig.arrive(1);
    const bytes = counted(rig, 1);
    await arrival;
    await rig.settle();
    expect(rig.component(1).state).toBe('ACTIVE');
    expect(bytes.write).toBe(different.length * REGION_SIZE_BYTES);
    expect(bytes.read).toBe(0);
    expect(areEqual(rig)).toBe(true);
  });

  test('asks for few where all differs', async () => {
    const rig = await withLoss({ mediaSizeBytes: 64 * MIB });
    disk(rig, 1).memory.data.fill(0xff);
    rig.component(1).isFull = true;
    const arrival = rig.arrive(1);
    const bytes = counted(rig, 1);
    await arrival;
    await rig.settle();
    expect(bytes.write).toBe(64 * MIB);
    // Those before the first answers are in, and one in sixteen.
    expect(bytes.checksum).toBeLessThan(64 * MIB * 0.15 + 24 * 262_144);
    expect(areEqual(rig)).toBe(true);
  });

  test('finds out where equal parts begin behind different ones', async () => {
    const rig = await withLoss({ mediaSizeBytes: 128 * MIB });
    disk(rig, 1).memory.data.fill(0xff, 0, 64 * MIB);
    rig.component(1).isFull = true;
    const arrival = rig.arrive(1);
    const bytes = counted(rig, 1);
    await arrival;
    await rig.settle();
    expect(bytes.write).toBeGreaterThanOrEqual(64 * MIB);
    expect(bytes.write).toBeLessThan(64 * MIB + 32 * 262_144);
    expect(areEqual(rig)).toBe(true);
  });

  test('is not asked of a target that can not tell them', async () => {
    const rig = await withLoss({ can: { checksum: false } });
    rig.component(1).missing.markRun(0, 16);
    const arrival = rig.arrive(1);
    const bytes = counted(rig, 1);
    await arrival;
    await rig.settle();
    expect(bytes).toMatchObject({ checksum: 0, write: MIB });
  });

  test('copies what the target can not read, which heals it', async () => {
    const rig = await withLoss();
    rig.component(1).missing.markRun(0, 4);
    const arrival = rig.arrive(1);
    disk(rig, 1).fault.plan = (io) => (io.op === 'checksum' ? { kind: 'fail', errno: 'EIO' } : null);
    await arrival;
    await rig.settle();
    expect(rig.component(1).state).toBe('ACTIVE');
    expect(disk(rig, 1).fault.heldCount).toBe(0);
  });

  test('has those of a remote source told, and reads there only what differs', async () => {
    // The fresh component is the one over the network.
    const rig = await withLoss();
    await rig.arrive(1);
    await rig.settle();
    rig.mirror.drop(rig.component(0), lost('disk0'));
    await rig.settle();
    const stale = disk(rig, 0).memory.data;
    stale.fill(0, 9 * REGION_SIZE_BYTES, 10 * REGION_SIZE_BYTES);
    rig.component(0).isFull = true;
    const bytes = counted(rig, 1);
    await rig.arrive(0);
    await rig.settle();
    expect(rig.component(0).state).toBe('ACTIVE');
    expect(bytes.read).toBe(REGION_SIZE_BYTES);
    expect(areEqual(rig)).toBe(true);
  });
});

describe('a resync', () => {
  test('of zeros sends no data', async () => {
    const rig = await withLoss({ can: { checksum: false } });
    disk(rig, 0).memory.data.fill(0, 0, 4 * MIB);
    rig.component(1).missing.markRun(0, 64);
    const arrival = rig.arrive(1);
    const bytes = counted(rig, 1);
    await arrival;
    await rig.settle();
    expect(bytes).toMatchObject({ write: 0, 'write-zeroes': 4 * MIB });
    expect(areEqual(rig)).toBe(true);
  });

  test.each([1, 2, 3])('copies no more than what was marked, wherever it is (seed %i)', async (seed) => {
    const rig = await withLoss();
    const random = new SeededRandom(seed);
    for (let count = 0; count < 40; count++) {
      const lengthBytes = 512 * (1 + random.below(300));
      const offsetBytes = 512 * random.below((16 * MIB - lengthBytes) / 512);
      await writeBytes(rig.mirror, offsetBytes, random.bytes(512).fill(random.below(256), 0, 512));
    }
    const { markedBytes } = rig.component(1).missing;
    const arrival = rig.arrive(1);
    const bytes = counted(rig, 1);
    await arrival;
    await rig.settle();
    expect(rig.component(1).state).toBe('ACTIVE');
    expect(bytes.write + bytes['write-zeroes']).toBeLessThanOrEqual(markedBytes);
    expect(bytes.checksum).toBeLessThanOrEqual(markedBytes);
    expect(markedBytes).toBeLessThanOrEqual(80 * REGION_SIZE_BYTES);
    expect(areEqual(rig)).toBe(true);
  });

  test('keeps the mark of what was copied and then written to the target alone', async () => {
    const rig = await withLoss();
    rig.component(1).missing.markRun(0, 2);
    const arrival = rig.arrive(1);
    const target = disk(rig, 1);
    // Copied, and waiting to be flushed.
    target.fault.plan = (io) => (io.op === 'flush' ? { kind: 'hold' } : null);
    await arrival;
    await rig.settle();
    expect(target.fault.heldCount).toBe(1);
    disk(rig, 0).fault.plan = (io) => (io.op === 'write' ? { kind: 'fail', errno: 'ENOSPC' } : null);
    const outcome = await start(
      rig.mirror,
      'write',
      { offsetBytes: 4096, lengthBytes: 4096 },
      Buffer.alloc(4096, 0xee),
    );
    expect(outcome?.errno).toBe('ENOSPC');
    disk(rig, 0).fault.plan = () => null;
    target.fault.plan = () => null;
    target.fault.release();
    await rig.settle();
    expect(rig.component(1).state).toBe('ACTIVE');
    expect(areEqual(rig)).toBe(true);
  });

  test('of everything is one of marks as soon as all marks are on stable storage', async () => {
    const rig = await withLoss();
    rig.component(1).isFull = true;
    const arrival = rig.arrive(1);
    const { store, fault } = disk(rig, 1);
    fault.plan = (io) => {
      if (io.op === 'write' || io.op === 'checksum') {
        for (const { durable } of [store, disk(rig, 0).store]) {
          expect(durable.superblock.slots[1]).toMatchObject({ isFull: false, isMarked: true });
          expect(durable.bitmaps.get(1)?.size).toBe(256);
        }
      }
      return null;
    };
    await arrival;
    await rig.settle();
    expect(rig.component(1).state).toBe('ACTIVE');
  });

  test('notes now and then how far it is', async () => {
    const rig = await withLoss({ options: { resyncBytesPerSecond: MIB }, can: { checksum: false } });
    rig.component(1).isFull = true;
    await rig.arrive(1);
    const left: number[] = [];
    for (let second = 1; second < 15; second++) {
      rig.clock.advance(1000);
      await rig.settle();
      left.push(disk(rig, 0).store.bitmaps.get(1)?.size ?? 0);
    }
    expect(left[3]).toBe(256);
    expect(left[6]).toBeLessThanOrEqual(256 - 4 * 16);
    expect(left.at(-1)).toBeLessThanOrEqual(256 - 9 * 16);
    expect(rig.component(1).state).toBe('SYNCHRONIZING');
  });

  test('that is ended by the end of the mirror has noted all that it copied', async () => {
    const rig = await withLoss({ options: { resyncBytesPerSecond: MIB }, can: { checksum: false } });
    rig.component(1).isFull = true;
    await rig.arrive(1);
    for (let second = 1; second <= 3; second++) {
      rig.clock.advance(1000);
      await rig.settle();
    }
    await rig.mirror.close();
    expect(disk(rig, 0).store.durable.bitmaps.get(1)?.size).toBeLessThanOrEqual(256 - 3 * 16);
  });

  test('goes on where it was when its target comes back, also if it was one of everything', async () => {
    const rig = await withLoss({ options: { resyncBytesPerSecond: MIB }, can: { checksum: false } });
    rig.component(1).isFull = true;
    await rig.arrive(1);
    for (let second = 1; second <= 8; second++) {
      rig.clock.advance(1000);
      await rig.settle();
    }
    rig.mirror.drop(rig.component(1), lost('disk1'));
    await rig.settle();
    await rig.arrive(1);
    const total = rig.mirror.resyncOf(rig.component(1))?.totalBytes;
    expect(total).toBeLessThanOrEqual(12 * MIB);
    expect(rig.component(1).isFull).toBe(false);
  });

  test('knows how much is left and for how long', async () => {
    const rig = await withLoss({ options: { resyncBytesPerSecond: MIB }, can: { checksum: false } });
    rig.component(1).missing.markRun(0, 160);
    await rig.arrive(1);
    for (let second = 1; second <= 4; second++) {
      rig.clock.advance(1000);
      await rig.settle();
    }
    const progress = rig.mirror.resyncOf(rig.component(1));
    if (progress === null) throw new Error('no resync');
    expect(progress.totalBytes).toBe(10 * MIB);
    expect(progress.doneBytes + progress.leftBytes).toBe(10 * MIB);
    expect(Math.abs(progress.doneBytes - 4 * MIB)).toBeLessThanOrEqual(MIB / 2);
    expect(Math.abs((progress.rateBytesPerSecond ?? 0) - MIB)).toBeLessThan(MIB / 4);
    expect(progress.leftSeconds).toBeGreaterThanOrEqual(5);
    expect(progress.leftSeconds).toBeLessThanOrEqual(8);
  });

  test('gives up on a source that can not be read, and copies the rest all the same', async () => {
    const rig = await withLoss({ can: { checksum: false } });
    rig.component(1).missing.markRun(0, 64);
    disk(rig, 1).memory.data.fill(0, 0, 4 * MIB);
    disk(rig, 0).fault.plan = (io) =>
      io.op === 'read' && io.offsetBytes === 0 ? { kind: 'fail', errno: 'EIO' } : null;
    await rig.arrive(1);
    await rig.settle();
    expect(rig.component(1).state).toBe('DISCONNECTED');
    expect(rig.component(1).missing.countMarked).toBeLessThanOrEqual(4);
    await flush(rig.mirror);
  });
});
