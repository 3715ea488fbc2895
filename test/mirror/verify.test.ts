import { describe, expect, test } from 'vitest';
import type { Finding, Verify } from '../../src/mirror/sweep/verify.js';
import { REGION_SIZE_BYTES } from '../../src/protocol/geometry.js';
import { pattern, readBytes, start, writeBytes } from '../support/device-requests.js';
import { type Rig, type RigDisk, lost, makeRig, type RigOptions } from '../support/mirror-rig.js';

const MIB = 1_048_576;

const disk = (rig: Rig, slot: number): RigDisk => {
  const found = rig.disks[slot];
  if (found === undefined) throw new Error(`no disk ${slot}`);
  return found;
};

/** All disks hold the same bytes, none of them zero. */
function sameDisks(options: RigOptions = {}): Rig {
  const rig = makeRig(options);
  const data = pattern(disk(rig, 0).memory.mediaSizeBytes, 1);
  for (const { memory } of rig.disks) data.copy(memory.data);
  return rig;
}

/** One byte of each region is another one. */
function spoil(rig: Rig, slot: number, ...regions: readonly number[]): void {
  for (const region of regions) disk(rig, slot).memory.data[region * REGION_SIZE_BYTES + 99] = 0;
}

async function verified(rig: Rig, isRepairing = false, previous: Verify | null = null): Promise<Verify> {
  const verify = rig.mirror.startVerify({ isRepairing, previous });
  await rig.settle();
  return verify;
}

function findingOf(verify: Verify, rig: Rig, slot: number): Finding {
  const found = verify.findings.find(({ component }) => component === rig.component(slot));
  if (found === undefined) throw new Error(`nothing of disk ${slot}`);
  return found;
}

const bytes = (regions: number): number => regions * REGION_SIZE_BYTES;

describe('a verify', () => {
  test.each([
    { how: 'checksums', can: {} },
    { how: 'data', can: { checksum: false } },
  ])('by $how finds nothing where all is the same', async ({ can }) => {
    const rig = sameDisks({ count: 3, can });
    const verify = await verified(rig);
    expect(verify.state).toBe('complete');
    for (const finding of verify.findings) expect(finding).toMatchObject({ differentBytes: 0 });
    expect(verify.progress).toMatchObject({ doneBytes: 16 * MIB, leftBytes: 0 });
    expect(rig.mirror.locks.heldCount).toBe(0);
  });

  test.each([
    { how: 'checksums', can: {} },
    { how: 'data', can: { checksum: false } },
  ])('by $how finds every region that differs, and marks it on stable storage', async ({ can }) => {
    const rig = sameDisks({ count: 3, can });
    spoil(rig, 1, 0, 7, 8, 255);
    spoil(rig, 2, 8);
    const verify = await verified(rig);
    expect(verify.state).toBe('complete');
    expect(verify.source).toBe(rig.component(0));
    expect(findingOf(verify, rig, 0)).toMatchObject({ differentBytes: 0 });
    expect(findingOf(verify, rig, 1)).toMatchObject({
      differentBytes: bytes(4),
      repairedBytes: 0,
      firstOffsetsBytes: [0, bytes(7), bytes(8), bytes(255)],
    });
    expect(findingOf(verify, rig, 2)).toMatchObject({ differentBytes: bytes(1) });
    for (const { store } of rig.disks) {
      expect([...(store.durable.bitmaps.get(1) ?? [])]).toEqual([0, 7, 8, 255]);
      expect(store.durable.superblock.slots.map(({ isMarked }) => isMarked).slice(0, 3)).toEqual([
        false,
        true,
        true,
      ]);
    }
    expect(rig.mirror.state).toBe('COMPLETE');
  });

  test('lets no data of a remote component travel that can tell checksums', async () => {
    const rig = sameDisks();
    let readBytesOfRemote = 0;
    disk(rig, 1).fault.plan = (io) => {
      if (io.op === 'read') readBytesOfRemote += io.lengthBytes;
      return null;
    };
    await verified(rig);
    expect(readBytesOfRemote).toBe(0);
  });

  test('does not take a write under way for a difference, nor a write that comes meanwhile', async () => {
    const rig = sameDisks();
    const held = disk(rig, 1);
    held.fault.plan = (io) => (io.op === 'write' ? { kind: 'hold' } : null);
    const early = writeBytes(rig.mirror, 0, pattern(8192, 5));
    await rig.settle();
    const verify = rig.mirror.startVerify({ isRepairing: false, previous: null });
    const late = writeBytes(rig.mirror, 3 * MIB, pattern(8192, 6));
    await rig.settle();
    expect(verify.state).toBe('running');
    held.fault.plan = () => null;
    held.fault.release();
    await Promise.all([early, late]);
    await rig.settle();
    expect(verify.state).toBe('complete');
    expect(findingOf(verify, rig, 1).differentBytes).toBe(0);
  });

  test('that repairs overwrites what differs with what the source has, and leaves no mark', async () => {
    const rig = sameDisks({ count: 3 });
    spoil(rig, 1, 3, 4, 100);
    spoil(rig, 2, 4);
    const verify = await verified(rig, true);
    expect(findingOf(verify, rig, 1)).toMatchObject({ differentBytes: bytes(3), repairedBytes: bytes(3) });
    expect(findingOf(verify, rig, 2)).toMatchObject({ differentBytes: bytes(1), repairedBytes: bytes(1) });
    for (const { memory } of rig.disks) expect(memory.data.equals(disk(rig, 0).memory.data)).toBe(true);
    expect(disk(rig, 0).memory.data.equals(pattern(16 * MIB, 1))).toBe(true);
    expect(rig.component(1).missing.countMarked).toBe(0);
    expect(disk(rig, 0).store.durable.superblock.slots[1]?.isMarked).toBe(false);
  });

  test('without checksums repairs too', async () => {
    const rig = sameDisks({ can: { checksum: false } });
    spoil(rig, 1, 3, 200);
    await verified(rig, true);
    expect(disk(rig, 1).memory.data.equals(disk(rig, 0).memory.data)).toBe(true);
  });

  test('takes a mark away again where both sides have been overwritten since', async () => {
    const rig = sameDisks();
    spoil(rig, 1, 3, 9);
    await verified(rig);
    await writeBytes(rig.mirror, 3 * REGION_SIZE_BYTES, pattern(REGION_SIZE_BYTES, 7));
    const again = await verified(rig);
    expect(findingOf(again, rig, 1).differentBytes).toBe(bytes(1));
    expect([...(disk(rig, 0).store.durable.bitmaps.get(1) ?? [])]).toEqual([9]);
  });

  test('leaves the mark of what the only good copy may have lost in a failed flush, though it found that equal', async () => {
    const rig = sameDisks({ options: { resyncBytesPerSecond: MIB } });
    spoil(rig, 1, 3);
    rig.component(1).missing.markRegion(3);
    await writeBytes(rig.mirror, bytes(3), pattern(REGION_SIZE_BYTES, 9));
    rig.mirror.startVerify({ isRepairing: false, previous: null });
    await rig.settle();
    const failuresLeft = [1, 1];
    rig.disks.forEach(({ fault }, slot) => {
      fault.plan = ({ op }) =>
        op === 'flush' && (failuresLeft[slot] ?? 0) > 0
          ? ((failuresLeft[slot] = 0), { kind: 'fail', errno: 'EIO' })
          : null;
    });
    expect(await start(rig.mirror, 'flush', { offsetBytes: 0, lengthBytes: 0 })).toMatchObject({
      errno: 'EIO',
    });
    await rig.settle();
    expect(rig.mirror.verification?.state).toBe('failed');
    expect(rig.component(1).state).toBe('ACTIVE');
    expect(rig.component(1).isCacheDoubtful).toBe(true);
    expect(rig.component(1).missing.isMarked(3)).toBe(true);
  });

  test('has what it marked copied when the component is lost and back', async () => {
    const rig = sameDisks();
    spoil(rig, 1, 3, 9);
    await verified(rig);
    rig.mirror.drop(rig.component(1), lost('disk1'));
    await rig.settle();
    await rig.arrive(1);
    await rig.settle();
    expect(rig.component(1).state).toBe('ACTIVE');
    expect(disk(rig, 1).memory.data.equals(disk(rig, 0).memory.data)).toBe(true);
    expect(rig.component(1).missing.countMarked).toBe(0);
  });

  test('heals what a component can not read, and goes on', async () => {
    const rig = sameDisks({ can: { checksum: false } });
    let isBad = true;
    disk(rig, 0).fault.plan = (io) => {
      if (io.op === 'write' && io.offsetBytes === 0) isBad = false;
      return io.op === 'read' && io.offsetBytes === 0 && isBad ? { kind: 'fail', errno: 'EIO' } : null;
    };
    const verify = await verified(rig);
    await rig.settle();
    expect(verify.state).toBe('complete');
    expect(findingOf(verify, rig, 0).unreadableBytes).toBeGreaterThan(0);
    expect(isBad).toBe(false);
    expect(rig.mirror.state).toBe('COMPLETE');
    expect(disk(rig, 0).memory.data.equals(pattern(16 * MIB, 1))).toBe(true);
  });

  test('can be stopped, and goes on where it was', async () => {
    const rig = sameDisks({ options: { resyncBytesPerSecond: MIB } });
    spoil(rig, 1, 1, 250);
    const first = await verified(rig);
    for (let second = 0; second < 5; second++) {
      rig.clock.advance(1000);
      await rig.settle();
    }
    await first.stop();
    expect(first.state).toBe('stopped');
    expect(first.nextRegion).toBeGreaterThanOrEqual(64);
    expect(first.nextRegion).toBeLessThanOrEqual(128);
    expect([...(disk(rig, 0).store.durable.bitmaps.get(1) ?? [])]).toEqual([1]);
    const checked: number[] = [];
    disk(rig, 1).fault.plan = (io) => {
      if (io.op === 'checksum') checked.push(io.offsetBytes);
      return null;
    };
    const second = rig.mirror.startVerify({ isRepairing: false, previous: first });
    for (let waited = 0; waited < 20; waited++) {
      rig.clock.advance(1000);
      await rig.settle();
    }
    expect(second.state).toBe('complete');
    expect(Math.min(...checked)).toBe(bytes(first.nextRegion));
    expect(findingOf(second, rig, 1)).toMatchObject({ differentBytes: bytes(2) });
  });

  test('fails when the source is lost, and says so', async () => {
    const rig = sameDisks({ options: { resyncBytesPerSecond: MIB } });
    const verify = await verified(rig);
    rig.mirror.drop(rig.component(0), lost('disk0'));
    await rig.settle();
    expect(verify.state).toBe('failed');
    expect(verify.why).toBe('disk0 was lost');
    expect(rig.mirror.locks.heldCount).toBe(0);
  });

  test('of three goes on when one that is not the source is lost', async () => {
    const rig = sameDisks({ count: 3, options: { resyncBytesPerSecond: 4 * MIB } });
    spoil(rig, 2, 255);
    const verify = await verified(rig);
    rig.mirror.drop(rig.component(1), lost('disk1'));
    for (let second = 0; second < 6; second++) {
      rig.clock.advance(1000);
      await rig.settle();
    }
    expect(verify.state).toBe('complete');
    expect(findingOf(verify, rig, 2).differentBytes).toBe(bytes(1));
  });

  test('ends with the mirror, and leaves what it found marked', async () => {
    const rig = sameDisks({ options: { resyncBytesPerSecond: MIB } });
    spoil(rig, 1, 0);
    const verify = await verified(rig);
    rig.clock.advance(1000);
    await rig.settle();
    await rig.mirror.close();
    expect(verify.state).toBe('stopped');
    expect([...(disk(rig, 0).store.durable.bitmaps.get(1) ?? [])]).toEqual([0]);
  });

  test('does not keep callers from reading and writing', async () => {
    const rig = sameDisks({ options: { resyncBytesPerSecond: MIB } });
    const verify = await verified(rig);
    const data = pattern(4096, 8);
    expect(await start(rig.mirror, 'write', { offsetBytes: 0, lengthBytes: 4096 }, data)).toBeNull();
    expect((await readBytes(rig.mirror, { offsetBytes: 0, lengthBytes: 4096 })).equals(data)).toBe(true);
    expect(verify.state).toBe('running');
    await verify.stop();
  });
});
