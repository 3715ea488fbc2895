import { describe, expect, test } from 'vitest';
import { clear, readBytes, writeBytes } from '../support/device-requests.js';
import { lost, makeRig, type Rig, type RigDisk } from '../support/mirror-rig.js';

/** Weaknesses of hastd, each shown not to be ours: section 12 of its description. */

const MIB = 1_048_576;
const block = (value: number): Buffer => Buffer.alloc(4096, value);

function disk(rig: Rig, slot: number): RigDisk {
  const found = rig.disks[slot];
  if (found === undefined) throw new Error(`no disk ${slot}`);
  return found;
}

const areSame = (rig: Rig): boolean => disk(rig, 0).memory.data.equals(disk(rig, 1).memory.data);

async function bringBack(rig: Rig, slot: number): Promise<void> {
  await rig.arrive(slot);
  await rig.settle();
  expect(rig.component(slot).state).toBe('ACTIVE');
}

describe('section 12', () => {
  test('a write in flight when the link dies is marked before it is answered, and copied later', async () => {
    const rig = makeRig();
    disk(rig, 1).fault.plan = ({ op }) => (op === 'write' ? { kind: 'hold' } : null);
    const writing = writeBytes(rig.mirror, 4 * MIB, block(1));
    await rig.settle();
    rig.mirror.drop(rig.component(1), lost('disk1'));
    await writing;
    expect(disk(rig, 0).store.durable.superblock.slots[1]?.isMarked).toBe(true);
    expect(rig.component(1).missing.countMarked).toBeGreaterThan(0);
    await bringBack(rig, 1);
    expect(areSame(rig)).toBe(true);
  });

  test('after a write that failed here and worked there, nothing is read from here', async () => {
    const rig = makeRig({ options: { balance: 'prefer' } });
    disk(rig, 0).fault.plan = ({ op }) => (op === 'write' ? { kind: 'fail', errno: 'EIO' } : null);
    await writeBytes(rig.mirror, 0, block(2));
    const found = await readBytes(rig.mirror, { offsetBytes: 0, lengthBytes: 4096 });
    expect(found.equals(block(2))).toBe(true);
    expect(rig.component(0).state).not.toBe('ACTIVE');
  });

  test('a piece of a resync that fails keeps its mark', async () => {
    const rig = makeRig();
    rig.mirror.drop(rig.component(1), lost('disk1'));
    await writeBytes(rig.mirror, 0, block(3));
    await writeBytes(rig.mirror, 4 * MIB, block(3));
    const arriving = rig.arrive(1);
    disk(rig, 1).fault.plan = ({ op, offsetBytes }) =>
      op === 'write' && offsetBytes >= 4 * MIB ? { kind: 'fail', errno: 'EIO' } : null;
    await arriving;
    await rig.settle();
    expect(rig.component(1).state).not.toBe('ACTIVE');
    expect(rig.component(1).missing.countMarked).toBeGreaterThan(0);
    await bringBack(rig, 1);
    expect(areSame(rig)).toBe(true);
  });

  test.each(['trim', 'write-zeroes'] as const)(
    'a %s while a component is away is marked as a write is',
    async (op) => {
      const rig = makeRig();
      await writeBytes(rig.mirror, 4 * MIB, block(4));
      rig.mirror.drop(rig.component(1), lost('disk1'));
      await clear(rig.mirror, op, { offsetBytes: 4 * MIB, lengthBytes: 4096 });
      await bringBack(rig, 1);
      expect(areSame(rig)).toBe(true);
    },
  );

  test('no write reaches a component when its mark could not be made', async () => {
    const rig = makeRig();
    const isHot = (slot: number): boolean => disk(rig, slot).store.durable.log.includes(2);
    for (const slot of [0, 1])
      disk(rig, slot).fault.plan = ({ op }) => {
        if (op === 'write') expect(isHot(slot)).toBe(true);
        return null;
      };
    await writeBytes(rig.mirror, 8 * MIB, block(5));
    expect(areSame(rig)).toBe(true);
  });

  test('a write that meets a range in use holds up no other request', async () => {
    const rig = makeRig();
    disk(rig, 1).fault.plan = ({ op, offsetBytes }) =>
      op === 'write' && offsetBytes === 0 ? { kind: 'hold' } : null;
    const first = writeBytes(rig.mirror, 0, block(1));
    const second = writeBytes(rig.mirror, 0, block(2));
    await writeBytes(rig.mirror, 8 * MIB, block(3));
    await readBytes(rig.mirror, { offsetBytes: 8 * MIB, lengthBytes: 4096 });
    disk(rig, 1).fault.plan = () => null;
    disk(rig, 1).fault.release();
    await Promise.all([first, second]);
    expect(areSame(rig)).toBe(true);
  });
});
