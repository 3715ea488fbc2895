import { describe, expect, test } from 'vitest';
import { flush } from '../../src/device/request.js';
import { flushPromiseOf } from '../../src/mirror/mirror-flush.js';
import { clear, readBytes, start, writeBytes } from '../support/device-requests.js';
import { comeBack, componentOf, MemberWorld, untilComplete } from '../support/member-world.js';
import { lost, makeRig, type Rig, type RigDisk } from '../support/mirror-rig.js';

/**
 * Weaknesses of hastd, each shown not to be ours: section 12 of its description. Rows that are shown elsewhere: metadata
 * in one copy without checksum (area-damage and area-crash tests), a peer's unknown command or I/O error that ends the
 * server, and sizes that are allocated before they are checked (test/server), encryption and authentication
 * (test/client/tls, test/cli/mirror-tls), a fixed metadata size (create.test.ts).
 */

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

  test('a trim waits for a write of its range, and the other way round', async () => {
    const rig = makeRig();
    disk(rig, 1).fault.plan = ({ op }) => (op === 'flush' ? null : { kind: 'hold' });
    const range = { offsetBytes: MIB, lengthBytes: 8192 };
    const first = writeBytes(rig.mirror, MIB, block(1));
    const second = clear(rig.mirror, 'trim', range);
    const third = writeBytes(rig.mirror, MIB + 4096, block(2));
    await rig.settle();
    expect(disk(rig, 1).fault.heldCount).toBe(1);
    expect(rig.mirror.locks.waitingCount).toBe(2);
    disk(rig, 1).fault.plan = () => null;
    disk(rig, 1).fault.release();
    await Promise.all([first, second, third]);
    expect(areSame(rig)).toBe(true);
    expect(
      disk(rig, 0)
        .memory.data.subarray(MIB, MIB + 8192)
        .equals(Buffer.concat([block(0), block(2)])),
    ).toBe(true);
  });

  test('a write is answered when all have it, and never on the word of one whose own copy has failed', async () => {
    const rig = makeRig();
    disk(rig, 0).fault.plan = ({ op }) => (op === 'write' ? { kind: 'hold' } : null);
    let isAnswered = false;
    const writing = writeBytes(rig.mirror, 0, block(1)).then(() => (isAnswered = true));
    await rig.settle();
    expect(disk(rig, 1).memory.data[0]).toBe(1);
    expect(isAnswered).toBe(false);
    let isRecorded = false;
    disk(rig, 1).store.before = async (step) => {
      if (step !== 'flush' || rig.component(0).isConnected) return;
      await rig.settle();
      expect(isAnswered).toBe(false);
      isRecorded = true;
    };
    disk(rig, 0).fault.release('EIO');
    await writing;
    expect(isRecorded).toBe(true);
    expect(disk(rig, 1).store.durable.superblock.slots[0]?.isMarked).toBe(true);
  });

  test('where the map can’t be written, the write does not go on: there is an error, and no byte of it', async () => {
    const rig = makeRig();
    for (const { store } of rig.disks)
      store.before = (step) => {
        if (step === 'log') throw lost('the area');
      };
    const error = await start(rig.mirror, 'write', { offsetBytes: 0, lengthBytes: 4096 }, block(9));
    expect(error).not.toBeNull();
    for (const { memory } of rig.disks) expect(memory.data[0]).toBe(0);
  });

  test('where one of two can’t write its map, it is dropped, and the write goes on with the other', async () => {
    const rig = makeRig();
    disk(rig, 1).store.before = (step) => {
      if (step === 'log') throw lost('disk1');
    };
    await writeBytes(rig.mirror, 0, block(9));
    expect(rig.component(1).state).toBe('DISCONNECTED');
    expect(rig.component(1).missing.isMarked(0)).toBe(true);
  });

  test('the map covers the data of the mirror, and never a byte of a larger disk’s data', async () => {
    const world = await new MemberWorld('ab', { b: 4 * MIB }).create('ab');
    const running = await world.start('ab');
    const { mediaSizeBytes } = running.mirror;
    const data = Buffer.alloc(mediaSizeBytes, 5);
    for (let at = 0; at < mediaSizeBytes; at += 65_536)
      await writeBytes(running.mirror, at, data.subarray(at, Math.min(at + 65_536, mediaSizeBytes)));
    running.mirror.drop(componentOf(running, 'b'), lost('b'));
    for (let at = 0; at < mediaSizeBytes; at += 65_536)
      await writeBytes(running.mirror, at, Buffer.alloc(512, 5));
    await comeBack(running, 'b');
    await untilComplete(running);
    await running.close();
    for (const name of 'ab') expect(world.data(name, mediaSizeBytes).equals(data)).toBe(true);
  });

  test('a resync has many requests in flight, not one', async () => {
    const rig = makeRig();
    disk(rig, 0).memory.data.fill(1);
    rig.component(1).missing.markAll();
    rig.mirror.drop(rig.component(1), lost('disk1'));
    const arriving = rig.arrive(1);
    let most = 0;
    disk(rig, 1).fault.plan = ({ op }) => (op === 'write' ? { kind: 'hold' } : null);
    await arriving;
    while (rig.component(1).state !== 'ACTIVE') {
      await rig.settle();
      most = Math.max(most, disk(rig, 1).fault.heldCount);
      disk(rig, 1).fault.release();
    }
    expect(most).toBeGreaterThan(4);
    expect(areSame(rig)).toBe(true);
  });

  test('where no component can flush, the mirror says so and claims nothing', async () => {
    const rig = makeRig({ can: { flush: false } });
    expect(flushPromiseOf(rig.mirror)).toBe('refused');
    await expect(flush(rig.mirror)).rejects.toMatchObject({ errno: 'EOPNOTSUPP' });
    expect(flushPromiseOf(makeRig().mirror)).toBe('kept');
  });

  test('there may be eight components, seven of which are lost and come back', async () => {
    const rig = makeRig({ count: 8 });
    await writeBytes(rig.mirror, 0, block(1));
    for (let slot = 1; slot < 8; slot++) {
      rig.mirror.drop(rig.component(slot), lost(`disk${slot}`));
      await writeBytes(rig.mirror, slot * MIB, block(slot));
    }
    for (let slot = 7; slot > 0; slot--) await bringBack(rig, slot);
    expect(rig.mirror.state).toBe('COMPLETE');
    for (const { memory } of rig.disks) expect(memory.data.equals(disk(rig, 0).memory.data)).toBe(true);
  });

  test('an outage is remembered by who went on, however often it was restarted before', async () => {
    const world = await new MemberWorld('ab').create('ab');
    await (await world.start('ab')).close();
    world.gone.add('b');
    for (let run = 1; run <= 3; run++) {
      const alone = await world.start('a', { degraded: true });
      await writeBytes(alone.mirror, run * 8192, block(run));
      await alone.close();
    }
    world.gone.clear();
    const both = await world.start('ab');
    expect(componentOf(both, 'b').state).toBe('SYNCHRONIZING');
    await untilComplete(both);
    await both.close();
    expect(world.data('b').equals(world.data('a'))).toBe(true);
  });

  test('two mirrors of one name and equal numbers are not taken for one', async () => {
    const [one, other] = [
      await new MemberWorld('ab').create('ab'),
      await new MemberWorld('ab').create('ab', {}, 0x900),
    ];
    for (const world of [one, other]) await (await world.start('ab')).close();
    one.exchange('b', other);
    await expect(one.start('ab')).rejects.toThrow('components of different mirrors');
  });
});
