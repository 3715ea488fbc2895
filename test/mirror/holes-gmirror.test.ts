import { describe, expect, test } from 'vitest';
import { readBytes, start, writeBytes } from '../support/device-requests.js';
import { componentOf, MemberWorld, untilComplete } from '../support/member-world.js';
import { lost, makeRig, type Rig, type RigDisk } from '../support/mirror-rig.js';

/** Weaknesses of the kernel's mirror, each shown not to be ours. Sections are those of its description. */

const MIB = 1_048_576;
const block = (value: number): Buffer => Buffer.alloc(4096, value);

function disk(rig: Rig, slot: number): RigDisk {
  const found = rig.disks[slot];
  if (found === undefined) throw new Error(`no disk ${slot}`);
  return found;
}

const areSame = (rig: Rig, one: number, other: number): boolean =>
  disk(rig, one).memory.data.equals(disk(rig, other).memory.data);

/** Component 1 has missed a write at 1 MiB and is back; its copy waits until the plan of disk 1 lets it go on. */
async function heldResync(rig: Rig): Promise<void> {
  rig.mirror.drop(rig.component(1), lost('disk1'));
  await writeBytes(rig.mirror, MIB, block(1));
  const arriving = rig.arrive(1);
  disk(rig, 1).fault.plan = ({ op, offsetBytes }) =>
    op !== 'read' && offsetBytes < 2 * MIB && op === 'write' ? { kind: 'hold' } : null;
  expect(await arriving).toBe('SYNCHRONIZING');
  await rig.settle();
  expect(rig.component(1).state).toBe('SYNCHRONIZING');
}

describe('section 3, errors', () => {
  test('a write that fails on the target of a resync is not missing there without anybody knowing', async () => {
    const rig = makeRig();
    await heldResync(rig);
    disk(rig, 1).fault.plan = ({ op }) => (op === 'write' ? { kind: 'fail', errno: 'EIO' } : null);
    await writeBytes(rig.mirror, 8 * MIB, block(2));
    expect(rig.component(1).state).toBe('DISCONNECTED');
    disk(rig, 1).fault.release('EIO');
    await rig.settle();
    await rig.arrive(1);
    await rig.settle();
    expect(rig.component(1).state).toBe('ACTIVE');
    expect(areSame(rig, 0, 1)).toBe(true);
  });

  test('a write that only the unfinished copy took is no success, and both are the same in the end', async () => {
    const rig = makeRig();
    await heldResync(rig);
    let failures = 0;
    disk(rig, 0).fault.plan = ({ op }) => {
      if (op !== 'write' || failures > 0) return null;
      failures += 1;
      return { kind: 'fail', errno: 'EIO' };
    };
    const error = await start(rig.mirror, 'write', { offsetBytes: 8 * MIB, lengthBytes: 4096 }, block(3));
    expect(error?.errno).toBe('EIO');
    disk(rig, 1).fault.plan = () => null;
    disk(rig, 1).fault.release();
    await rig.settle();
    if (rig.component(1).state !== 'ACTIVE') {
      await rig.arrive(1);
      await rig.settle();
    }
    expect(rig.component(1).state).toBe('ACTIVE');
    expect(areSame(rig, 0, 1)).toBe(true);
  });

  test('a read of a bad sector ends with the data of another copy, also where reads are to go to the first', async () => {
    const rig = makeRig({ options: { balance: 'prefer' } });
    await writeBytes(rig.mirror, 0, block(5));
    disk(rig, 0).fault.plan = ({ op }) => (op === 'read' ? { kind: 'fail', errno: 'EIO' } : null);
    const found = await readBytes(rig.mirror, { offsetBytes: 0, lengthBytes: 4096 });
    expect(found.equals(block(5))).toBe(true);
  });
});

describe('section 4, synchronization', () => {
  test('a copy that stopped at a bad source is not taken for whole, nor resumed over what was written since', async () => {
    const rig = makeRig();
    rig.mirror.drop(rig.component(1), lost('disk1'));
    for (const offsetBytes of [0, 2 * MIB, 4 * MIB]) await writeBytes(rig.mirror, offsetBytes, block(1));
    disk(rig, 0).fault.plan = ({ op, offsetBytes }) =>
      op !== 'write' && op !== 'flush' && offsetBytes === 2 * MIB ? { kind: 'fail', errno: 'EIO' } : null;
    await rig.arrive(1);
    await rig.settle();
    expect(rig.component(0).state).toBe('ACTIVE');
    expect(rig.component(1).state).not.toBe('ACTIVE');
    await writeBytes(rig.mirror, 0, block(2));
    disk(rig, 0).fault.plan = () => null;
    if (rig.component(1).isConnected) rig.mirror.drop(rig.component(1), lost('disk1'));
    await rig.arrive(1);
    await rig.settle();
    expect(rig.component(1).state).toBe('ACTIVE');
    expect(areSame(rig, 0, 1)).toBe(true);
  });

  test('a write that waits for the copy of its range holds up no other request', async () => {
    const rig = makeRig();
    await heldResync(rig);
    let isDone = false;
    const waiting = writeBytes(rig.mirror, MIB, block(9)).then(() => (isDone = true));
    await writeBytes(rig.mirror, 12 * MIB, block(4));
    await readBytes(rig.mirror, { offsetBytes: 12 * MIB, lengthBytes: 4096 });
    expect(isDone).toBe(false);
    disk(rig, 1).fault.plan = () => null;
    disk(rig, 1).fault.release();
    await waiting;
    await rig.settle();
    expect(rig.component(1).state).toBe('ACTIVE');
    expect(areSame(rig, 0, 1)).toBe(true);
  });
});

describe('section 7, its tests restated', () => {
  test('sync_read_error_2_disks: the only source that can not be read stays, its target is not ACTIVE', async () => {
    const rig = makeRig();
    rig.mirror.drop(rig.component(1), lost('disk1'));
    await writeBytes(rig.mirror, 0, block(1));
    disk(rig, 0).fault.plan = ({ op }) =>
      op === 'read' || op === 'checksum' ? { kind: 'fail', errno: 'EIO' } : null;
    await rig.arrive(1);
    await rig.settle();
    expect(rig.component(0).state).toBe('ACTIVE');
    expect(rig.component(1).state).not.toBe('ACTIVE');
    expect(rig.mirror.state).toBe('DEGRADED');
  });

  test('sync_read_error_3_disks: the copy goes on from the other source', async () => {
    const rig = makeRig({ count: 3 });
    rig.mirror.drop(rig.component(2), lost('disk2'));
    await writeBytes(rig.mirror, 0, block(1));
    disk(rig, 0).fault.plan = ({ op }) =>
      op === 'read' || op === 'checksum' ? { kind: 'fail', errno: 'EIO' } : null;
    await rig.arrive(2);
    await rig.settle();
    expect(rig.component(2).state).toBe('ACTIVE');
    expect(areSame(rig, 1, 2)).toBe(true);
  });

  test.each(['EIO', 'ENXIO'] as const)(
    '12 and 13: a write that fails once with %s, read back, and the failed one is brought up to date',
    async (errno) => {
      const rig = makeRig();
      disk(rig, 0).fault.plan = ({ op }) => (op === 'write' ? { kind: 'fail', errno } : null);
      await writeBytes(rig.mirror, 512 * 1024, block(6));
      expect(rig.component(0).state).toBe('DISCONNECTED');
      const found = await readBytes(rig.mirror, { offsetBytes: 512 * 1024, lengthBytes: 4096 });
      expect(found.equals(block(6))).toBe(true);
      await rig.arrive(0);
      await rig.settle();
      expect(rig.component(0).state).toBe('ACTIVE');
      expect(areSame(rig, 0, 1)).toBe(true);
    },
  );
});

describe('section 7, what is to be added', () => {
  test('writes below, above and across the place of a copy end the same everywhere', async () => {
    const rig = makeRig();
    rig.mirror.drop(rig.component(1), lost('disk1'));
    for (let at = 0; at < 8; at++) await writeBytes(rig.mirror, at * MIB, Buffer.alloc(MIB, 1));
    const arriving = rig.arrive(1);
    // Everything behind 4 MiB waits.
    disk(rig, 1).fault.plan = ({ op, offsetBytes }) =>
      (op === 'write' || op === 'write-zeroes') && offsetBytes >= 4 * MIB ? { kind: 'hold' } : null;
    await arriving;
    await rig.settle();
    expect(rig.component(1).state).toBe('SYNCHRONIZING');
    await writeBytes(rig.mirror, MIB, block(2));
    const across = writeBytes(rig.mirror, 4 * MIB - 2048, block(3));
    const above = writeBytes(rig.mirror, 7 * MIB, block(4));
    await rig.settle();
    disk(rig, 1).fault.plan = () => null;
    disk(rig, 1).fault.release();
    await Promise.all([across, above]);
    await rig.settle();
    expect(rig.component(1).state).toBe('ACTIVE');
    expect(areSame(rig, 0, 1)).toBe(true);
  });

  test('a read behind a write that waits finds the old bytes, one behind its answer the new ones', async () => {
    const rig = makeRig({ options: { balance: 'round-robin' } });
    await heldResync(rig);
    const waiting = writeBytes(rig.mirror, MIB, block(9));
    const range = { offsetBytes: MIB, lengthBytes: 4096 };
    expect((await readBytes(rig.mirror, range)).equals(block(1))).toBe(true);
    disk(rig, 1).fault.plan = () => null;
    disk(rig, 1).fault.release();
    await waiting;
    for (let turn = 0; turn < 3; turn++) {
      expect((await readBytes(rig.mirror, range)).equals(block(9))).toBe(true);
    }
  });
});

describe('section 3, what it says besides', () => {
  test('a trimmed range is the same on a component that can’t trim', async () => {
    const rig = makeRig({ can: { trim: false, writeZeroes: false } });
    await writeBytes(rig.mirror, MIB, block(7));
    expect(await start(rig.mirror, 'trim', { offsetBytes: MIB, lengthBytes: 4096 })).toBeNull();
    expect(areSame(rig, 0, 1)).toBe(true);
  });

  test('the last ACTIVE component is never dropped, and its error is the caller’s', async () => {
    const rig = makeRig();
    for (const { fault } of rig.disks)
      fault.plan = ({ op }) => (op === 'write' ? { kind: 'fail', errno: 'ENOSPC' } : null);
    const error = await start(rig.mirror, 'write', { offsetBytes: 0, lengthBytes: 4096 }, block(1));
    expect(error?.errno).toBe('ENOSPC');
    expect(rig.component(0).state).toBe('ACTIVE');
    expect(rig.component(1).state).toBe('DISCONNECTED');
  });
});

describe('section 4, what it says besides', () => {
  test('the progress of a copy is what is finished, not what was issued', async () => {
    const rig = makeRig();
    await heldResync(rig);
    expect(disk(rig, 1).fault.heldCount).toBeGreaterThan(0);
    expect(rig.mirror.resyncOf(rig.component(1))?.doneBytes).toBe(0);
  });

  test('overlapping writes leave the same bytes everywhere, in whichever order disks do them', async () => {
    const rig = makeRig();
    disk(rig, 1).fault.plan = ({ op }) => (op === 'write' ? { kind: 'hold' } : null);
    const writes = [1, 2, 3].map((value) => writeBytes(rig.mirror, value * 512, block(value)));
    while (disk(rig, 1).fault.heldCount > 0 || rig.mirror.locks.heldCount > 0) {
      await rig.settle();
      disk(rig, 1).fault.release();
      await rig.settle();
    }
    await Promise.all(writes);
    expect(areSame(rig, 0, 1)).toBe(true);
  });
});

describe('section 8, weaknesses', () => {
  test('the label of a late DIRTY component says SYNCHRONIZING for as long as it is copied to', async () => {
    const rig = makeRig();
    await heldResync(rig);
    expect(disk(rig, 1).store.label).toMatchObject({ isSynchronizing: true });
    disk(rig, 1).fault.plan = () => null;
    disk(rig, 1).fault.release();
    await rig.settle();
    expect(disk(rig, 1).store.label).toMatchObject({ isSynchronizing: false });
  });

  test('a component whose label can’t be written is dropped, and so is not believed later', async () => {
    const rig = makeRig({ count: 3 });
    disk(rig, 1).store.before = (step) => {
      if (step === 'label') throw lost('disk1');
    };
    rig.mirror.drop(rig.component(2), lost('disk2'));
    await writeBytes(rig.mirror, 0, block(1));
    expect(rig.component(1).state).toBe('DISCONNECTED');
    const { slots } = disk(rig, 0).store.durable.superblock;
    expect([slots[1]?.isMarked, slots[2]?.isMarked]).toEqual([true, true]);
  });

  test('a stale component gets the regions that it misses, not everything', async () => {
    const rig = makeRig();
    for (const { memory } of rig.disks) memory.data.fill(1);
    rig.mirror.drop(rig.component(1), lost('disk1'));
    await writeBytes(rig.mirror, MIB, block(2));
    await rig.arrive(1);
    await rig.settle();
    expect(rig.component(1).state).toBe('ACTIVE');
    expect(rig.component(1).counters.bytesWritten).toBeLessThanOrEqual(65_536);
    expect(areSame(rig, 0, 1)).toBe(true);
  });

  test('two halves that were written without one another are told apart, though their numbers are the same', async () => {
    const world = await new MemberWorld('ab').create('ab');
    await (await world.start('ab')).close();
    for (const [there, away] of ['ab', 'ba']) {
      world.gone.add(away ?? '');
      const half = await world.start(there ?? '', { degraded: true });
      await writeBytes(half.mirror, 0, block(there === 'a' ? 1 : 2));
      await half.close();
      world.gone.clear();
    }
    const [one, two] = [world.labelOnMedium('a'), world.labelOnMedium('b')];
    expect([one.genid, one.syncid]).toEqual([two.genid, two.syncid]);
    await expect(world.start('ab')).rejects.toThrow('split brain');
    expect([world.data('a')[0], world.data('b')[0]]).toEqual([1, 2]);
  });

  test('a silent difference between copies is found by a verify', async () => {
    const rig = makeRig();
    disk(rig, 1).memory.data[5 * MIB] = 1;
    const verify = rig.mirror.startVerify({ isRepairing: true, previous: null });
    await rig.settle();
    expect(verify.findings.map(({ differentBytes }) => differentBytes)).toEqual([0, 65_536]);
    expect(areSame(rig, 0, 1)).toBe(true);
  });

  test('a priority that is changed while the mirror runs holds for the next read', async () => {
    const rig = makeRig({ options: { balance: 'prefer' } });
    rig.mirror.setPriority(rig.component(1), 200);
    await readBytes(rig.mirror, { offsetBytes: 0, lengthBytes: 4096 });
    expect([0, 1].map((slot) => rig.component(slot).counters.reads)).toEqual([0, 1]);
  });

  test('a crash while labels are raised one after the other leaves a mirror that starts, with one newest', async () => {
    for (let requests = 1, isOver = false; !isOver; requests += 2) {
      const world = await new MemberWorld('abc').create('abc');
      const running = await world.start('abc');
      await writeBytes(running.mirror, 0, block(7));
      await running.mirror.flushAll();
      world.cutPowerAfter(requests);
      running.mirror.drop(componentOf(running, 'c'), lost('c'));
      await writeBytes(running.mirror, 8192, block(8)).catch(() => undefined);
      isOver = !world.isPowerCut;
      world.crash(requests);
      const again = await world.start('abc');
      await untilComplete(again);
      await again.close();
      expect(world.data('a').subarray(0, 4096).equals(block(7))).toBe(true);
      for (const name of 'bc')
        expect([requests, world.data(name).equals(world.data('a'))]).toEqual([requests, true]);
    }
  });
});
