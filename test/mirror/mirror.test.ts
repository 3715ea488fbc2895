import { describe, expect, test } from 'vitest';
import type { DeviceError } from '../../src/device/block-device.js';
import { REGION_SIZE_BYTES } from '../../src/protocol/geometry.js';
import { NO_UUID } from '../../src/protocol/superblock.js';
import { flush, readBytes, start, writeBytes } from '../support/device-requests.js';
import { FIRST_GENERATION, type Rig, lost, makeRig } from '../support/mirror-rig.js';

const block = (value: number, lengthBytes = 4096): Buffer => Buffer.alloc(lengthBytes, value);
const at = (rig: Rig, slot: number, offsetBytes: number, lengthBytes = 4096): Buffer | undefined =>
  rig.disks[slot]?.memory.data.subarray(offsetBytes, offsetBytes + lengthBytes);
const disk = (rig: Rig, slot: number) => {
  const found = rig.disks[slot];
  if (found === undefined) throw new Error(`no disk ${slot}`);
  return found;
};
const failing = (errno: 'EIO' | 'ENXIO' = 'EIO') => ({ kind: 'fail', errno }) as const;

describe('a mirror', () => {
  test('writes to every component and reads what was written', async () => {
    const rig = makeRig({ count: 3 });
    await writeBytes(rig.mirror, 8192, block(7));
    for (const slot of [0, 1, 2]) expect(at(rig, slot, 8192)?.equals(block(7))).toBe(true);
    expect((await readBytes(rig.mirror, { offsetBytes: 8192, lengthBytes: 4096 })).equals(block(7))).toBe(
      true,
    );
    expect(rig.mirror.state).toBe('COMPLETE');
  });

  test('tells a component that comes back what others miss, which may soon have nobody else to ask', async () => {
    const rig = makeRig({ count: 3 });
    for (const slot of [1, 2]) rig.mirror.drop(rig.component(slot), lost(`disk${slot}`));
    await writeBytes(rig.mirror, 8192, block(7));
    await flush(rig.mirror);
    await rig.mirror.journal.retire();
    expect(await rig.arrive(1)).toBe('SYNCHRONIZING');
    await rig.settle();
    expect(rig.component(1).state).toBe('ACTIVE');
    expect([...(disk(rig, 1).store.durable.bitmaps.get(2) ?? [])]).toEqual([0]);
  });

  test('sends no write before its extent is on stable storage as hot, on every component', async () => {
    const rig = makeRig();
    for (const { fault, store } of rig.disks) {
      fault.plan = (io) => {
        if (io.op === 'write') expect(store.durable.log).toContain(Math.floor(io.offsetBytes / 4_194_304));
        return null;
      };
    }
    await writeBytes(rig.mirror, 5 * 1_048_576, block(1));
    expect(disk(rig, 0).store.durable.superblock.isRunning).toBe(true);
    expect(disk(rig, 0).store.label.isDirty).toBe(true);
  });

  test('drops a component that fails a write, has that on stable storage, and only then answers', async () => {
    const rig = makeRig();
    disk(rig, 1).fault.plan = (io) => (io.op === 'write' ? failing() : null);
    await writeBytes(rig.mirror, 0, block(1));
    const { superblock } = disk(rig, 0).store.durable;
    expect(superblock.slots[1]).toMatchObject({ lostAt: FIRST_GENERATION, isMarked: true });
    expect(superblock.current).not.toBe(FIRST_GENERATION);
    expect(superblock.history).toEqual([FIRST_GENERATION]);
    expect(disk(rig, 0).store.label).toMatchObject({ genid: 1, syncid: 1 });
    expect(disk(rig, 1).store.superblock.current).toBe(FIRST_GENERATION);
    expect(rig.mirror.state).toBe('DEGRADED');
    expect(rig.component(1).state).toBe('DISCONNECTED');
    expect(rig.component(1).missing.isMarked(0)).toBe(true);
  });

  test('answers no write while a loss is not on stable storage, and none is lost when that fails', async () => {
    const rig = makeRig();
    disk(rig, 1).fault.plan = (io) => (io.op === 'write' ? failing() : null);
    let isLossWritten = false;
    disk(rig, 0).store.before = (step) => {
      if (step === 'superblock') isLossWritten = disk(rig, 0).store.log.length > 0;
    };
    const outcome = await start(rig.mirror, 'write', { offsetBytes: 0, lengthBytes: 4096 }, block(1));
    expect(outcome).toBeNull();
    expect(isLossWritten).toBe(true);
  });

  test.each(['write', 'flush'] as const)(
    'answers no %s while the loss of another component is being written down',
    async (op) => {
      const rig = makeRig();
      let proceed: () => void = () => undefined;
      const gate = new Promise<void>((resolve) => (proceed = resolve));
      await writeBytes(rig.mirror, 0, block(1));
      disk(rig, 0).store.before = (step) => (step === 'superblock' ? gate : undefined);
      rig.mirror.drop(rig.component(1), lost('disk1'));
      await rig.settle();
      let isAnswered = false;
      const range =
        op === 'write' ? { offsetBytes: 0, lengthBytes: 4096 } : { offsetBytes: 0, lengthBytes: 0 };
      const answered = start(rig.mirror, op, range, op === 'write' ? block(2) : undefined).then(
        () => (isAnswered = true),
      );
      await rig.settle();
      expect(isAnswered).toBe(false);
      proceed();
      await answered;
      expect(disk(rig, 0).store.durable.superblock.slots[1]?.lostAt).toBe(FIRST_GENERATION);
    },
  );

  test('never drops the last component: its errors are the caller’s', async () => {
    const rig = makeRig();
    for (const { fault } of rig.disks) fault.plan = (io) => (io.op === 'write' ? failing() : null);
    const outcome = await start(rig.mirror, 'write', { offsetBytes: 0, lengthBytes: 4096 }, block(1));
    expect(outcome?.errno).toBe('EIO');
    expect(rig.component(0).state).toBe('ACTIVE');
    expect(rig.component(1).state).toBe('DISCONNECTED');
    disk(rig, 0).fault.plan = () => null;
    await writeBytes(rig.mirror, 0, block(2));
    expect(at(rig, 0, 0)?.equals(block(2))).toBe(true);
  });

  test('drops a component that is silent for ten seconds, without failing the caller', async () => {
    const rig = makeRig();
    disk(rig, 1).fault.plan = (io) => (io.op === 'write' ? { kind: 'hold' } : null);
    let outcome: DeviceError | null | 'waits' = 'waits';
    const answered = start(rig.mirror, 'write', { offsetBytes: 0, lengthBytes: 4096 }, block(1)).then(
      (error) => (outcome = error),
    );
    await rig.settle();
    rig.clock.advance(9000);
    await rig.settle();
    expect(outcome).toBe('waits');
    rig.clock.advance(1500);
    await rig.settle();
    expect(outcome).toBeNull();
    await answered;
    expect(rig.component(1).state).toBe('DISCONNECTED');
    expect(disk(rig, 1).isAbandoned).toBe(true);
  });

  test('drops nobody for what the program itself stood still for', async () => {
    const rig = makeRig();
    let isHeld = true;
    for (const slot of [0, 1])
      disk(rig, slot).fault.plan = (io) => (isHeld && io.op === 'write' ? { kind: 'hold' } : null);
    const answered = start(rig.mirror, 'write', { offsetBytes: 0, lengthBytes: 4096 }, block(1));
    await rig.settle();
    rig.clock.advance(3000);
    rig.clock.standStill(60_000);
    rig.clock.advance(1000);
    isHeld = false;
    for (const slot of [0, 1]) disk(rig, slot).fault.release();
    expect(await answered).toBeNull();
    expect([0, 1].map((slot) => rig.component(slot).state)).toEqual(['ACTIVE', 'ACTIVE']);
    disk(rig, 1).fault.plan = (io) => (io.op === 'write' ? { kind: 'hold' } : null);
    const second = start(rig.mirror, 'write', { offsetBytes: 0, lengthBytes: 4096 }, block(2));
    await rig.settle();
    rig.clock.standStill(60_000);
    rig.clock.advance(11_000);
    expect(await second).toBeNull();
    expect(rig.component(1).trouble).toContain('is silent for 10 s');
  });

  test('drops each component after a time-out of its own', async () => {
    const rig = makeRig({ count: 3, timeoutsMs: { 1: 30_000, 2: 1000 } });
    for (const slot of [1, 2])
      disk(rig, slot).fault.plan = (io) => (io.op === 'write' ? { kind: 'hold' } : null);
    const answered = start(rig.mirror, 'write', { offsetBytes: 0, lengthBytes: 4096 }, block(1));
    await rig.settle();
    rig.clock.advance(1500);
    await rig.settle();
    expect([1, 2].map((slot) => rig.component(slot).state)).toEqual(['ACTIVE', 'DISCONNECTED']);
    rig.clock.advance(27_000);
    await rig.settle();
    expect(rig.component(1).state).toBe('ACTIVE');
    rig.clock.advance(2000);
    await rig.settle();
    expect(rig.component(1).trouble).toContain('is silent for 30 s');
    expect(await answered).toBeNull();
  });

  test('copies only marked regions to a component that comes back, and marks it good again', async () => {
    const rig = makeRig();
    rig.mirror.drop(rig.component(1), lost('disk1'));
    await writeBytes(rig.mirror, 65_536, block(5));
    await writeBytes(rig.mirror, 10 * 65_536, block(6, 131_072));
    const written: number[] = [];
    const arrival = rig.arrive(1);
    disk(rig, 1).fault.plan = (io) => {
      if (io.op === 'write') written.push(io.lengthBytes);
      return null;
    };
    expect(await arrival).toBe('SYNCHRONIZING');
    await rig.settle();
    expect(rig.component(1).state).toBe('ACTIVE');
    expect(written.reduce((sum, bytes) => sum + bytes, 0)).toBe(3 * 65_536);
    expect(disk(rig, 1).memory.data.equals(disk(rig, 0).memory.data)).toBe(true);
    for (const slot of [0, 1]) {
      const { superblock } = disk(rig, slot).store.durable;
      expect(superblock.slots[1]?.lostAt).toBe(NO_UUID);
      expect(superblock.current).toBe(rig.mirror.journal.state.current);
      expect(superblock.isInconsistent).toBe(false);
    }
    expect(rig.mirror.state).toBe('COMPLETE');
  });

  test('says on the target of a resync that its data is a mixture, before it copies the first byte', async () => {
    const rig = makeRig();
    rig.mirror.drop(rig.component(1), lost('disk1'));
    await writeBytes(rig.mirror, 0, block(5));
    const arrival = rig.arrive(1);
    const { store, fault } = disk(rig, 1);
    fault.plan = (io) => {
      if (io.op === 'write') {
        expect(store.durable.superblock.isInconsistent).toBe(true);
        expect(store.label.isSynchronizing).toBe(true);
        expect(store.durable.superblock.current).toBe(FIRST_GENERATION);
      }
      return null;
    };
    await arrival;
    await rig.settle();
    expect(rig.component(1).state).toBe('ACTIVE');
    expect(store.label.isSynchronizing).toBe(false);
  });

  test('copies again what a component had not flushed when it was lost', async () => {
    const rig = makeRig();
    await writeBytes(rig.mirror, 0, block(1));
    await flush(rig.mirror);
    await writeBytes(rig.mirror, 5 * 65_536, block(2));
    rig.mirror.drop(rig.component(1), lost('disk1'));
    expect(rig.component(1).missing.isMarked(5)).toBe(true);
    expect(rig.component(1).missing.isMarked(0)).toBe(false);
    // Its host has lost power, and with it what was not flushed.
    disk(rig, 1).memory.data.fill(0, 5 * 65_536, 6 * 65_536);
    await rig.arrive(1);
    await rig.settle();
    expect(disk(rig, 1).memory.data.equals(disk(rig, 0).memory.data)).toBe(true);
  });

  test('sends new writes to the target of a resync too, and ends with both the same', async () => {
    const rig = makeRig();
    rig.mirror.drop(rig.component(1), lost('disk1'));
    await writeBytes(rig.mirror, 0, block(1, 4 * 1_048_576));
    const arrival = rig.arrive(1);
    for (let round = 0; round < 40; round++) {
      await writeBytes(rig.mirror, ((round * 37) % 64) * 65_536, block(round + 10));
    }
    await arrival;
    await rig.settle();
    expect(rig.component(1).state).toBe('ACTIVE');
    expect(disk(rig, 1).memory.data.equals(disk(rig, 0).memory.data)).toBe(true);
  });

  test('begins a new generation when the target is lost as it says that it is in step', async () => {
    const rig = makeRig();
    rig.mirror.drop(rig.component(1), lost('disk1'));
    await writeBytes(rig.mirror, 0, block(1));
    const { store } = disk(rig, 1);
    store.before = (step) => {
      // What it was told is on its disk, but its answer never comes.
      if (step === 'flush' && !store.superblock.isInconsistent) throw lost('disk1');
    };
    await rig.arrive(1);
    await rig.settle();
    expect(rig.component(1).state).toBe('DISCONNECTED');
    await writeBytes(rig.mirror, 65_536, block(2));
    expect(store.superblock.current).not.toBe(disk(rig, 0).store.durable.superblock.current);
    store.before = () => undefined;
    await rig.arrive(1);
    await rig.settle();
    expect(rig.component(1).state).toBe('ACTIVE');
    expect(disk(rig, 1).memory.data.equals(disk(rig, 0).memory.data)).toBe(true);
  });

  test('goes on where a resync was interrupted', async () => {
    const rig = makeRig();
    rig.mirror.drop(rig.component(1), lost('disk1'));
    await writeBytes(rig.mirror, 0, block(1, 8 * 1_048_576));
    let copies = 0;
    const arrival = rig.arrive(1);
    disk(rig, 1).fault.plan = (io) => (io.op === 'write' && ++copies > 3 ? failing('ENXIO') : null);
    await arrival;
    await rig.settle();
    expect(rig.component(1).state).toBe('DISCONNECTED');
    await rig.arrive(1);
    await rig.settle();
    expect(rig.component(1).state).toBe('ACTIVE');
    expect(disk(rig, 1).memory.data.equals(disk(rig, 0).memory.data)).toBe(true);
  });

  test('leaves a component alone that was written without it', async () => {
    const rig = makeRig();
    rig.mirror.drop(rig.component(1), lost('disk1'));
    await writeBytes(rig.mirror, 0, block(1));
    const { store, memory } = disk(rig, 1);
    store.superblock = { ...store.superblock, current: 'f'.repeat(32), history: [FIRST_GENERATION] };
    memory.data.fill(9);
    expect(await rig.arrive(1)).toBe('split brain');
    await rig.settle();
    expect(rig.component(1).state).toBe('DISCONNECTED');
    expect(memory.data.every((byte) => byte === 9)).toBe(true);
    expect(rig.events.at(-1)).toContain('disk1 split brain: split brain: it was written without the others');
  });

  test('copies everything to a component whose generation is older than the one it was lost at', async () => {
    const rig = makeRig();
    rig.mirror.drop(rig.component(1), lost('disk1'));
    await writeBytes(rig.mirror, 0, block(1));
    await rig.arrive(1);
    await rig.settle();
    rig.mirror.drop(rig.component(1), lost('disk1'));
    await rig.settle();
    const { store, memory } = disk(rig, 1);
    // An old copy of the image was put in its place.
    store.superblock = { ...store.superblock, current: FIRST_GENERATION, history: [] };
    memory.data.fill(3);
    await rig.arrive(1);
    await rig.settle();
    expect(rig.component(1).state).toBe('ACTIVE');
    expect(memory.data.equals(disk(rig, 0).memory.data)).toBe(true);
  });

  test('answers a read from another component and rewrites the range that could not be read', async () => {
    const rig = makeRig();
    await writeBytes(rig.mirror, 0, block(4));
    let isBad = true;
    const rewritten: string[] = [];
    disk(rig, 0).fault.plan = (io) => {
      if (io.op === 'write') {
        rewritten.push(`${io.offsetBytes}+${io.lengthBytes}`);
        isBad = false;
      }
      return io.op === 'read' && isBad ? failing() : null;
    };
    expect((await readBytes(rig.mirror, { offsetBytes: 0, lengthBytes: 4096 })).equals(block(4))).toBe(true);
    await rig.settle();
    expect(rewritten).toEqual(['0+4096']);
    expect(rig.component(0).state).toBe('ACTIVE');
    expect(rig.events.at(-1)).toMatch(/^disk0 repaired/);
  });

  test('takes a rewritten range for written: hot until it is flushed, and copied if the component is lost before', async () => {
    const rig = makeRig();
    disk(rig, 0).fault.plan = (io) => {
      if (io.op === 'write') expect(disk(rig, 0).store.durable.log).toEqual([2]);
      return io.op === 'read' ? failing() : null;
    };
    await readBytes(rig.mirror, { offsetBytes: 8 * 1_048_576, lengthBytes: 4096 });
    await rig.settle();
    expect(rig.events.at(-1)).toMatch(/^disk0 repaired/);
    rig.mirror.drop(rig.component(0), lost('disk0'));
    expect(rig.component(0).missing.nextMarked(0)).toBe((8 * 1_048_576) / REGION_SIZE_BYTES);
  });

  test('gives a component up whose bad range can not be rewritten', async () => {
    const rig = makeRig();
    disk(rig, 0).fault.plan = (io) => (io.op === 'read' || io.op === 'write' ? failing() : null);
    await readBytes(rig.mirror, { offsetBytes: 0, lengthBytes: 4096 });
    await rig.settle();
    expect(rig.component(0).state).toBe('DISCONNECTED');
    expect(rig.component(1).state).toBe('ACTIVE');
  });

  test('tells the caller of a range that no component can read, and drops none for it', async () => {
    const rig = makeRig();
    for (const { fault } of rig.disks) fault.plan = (io) => (io.op === 'read' ? failing() : null);
    const outcome = await start(rig.mirror, 'read', { offsetBytes: 0, lengthBytes: 512 }, block(0, 512));
    expect(outcome?.errno).toBe('EIO');
    await rig.settle();
    expect(rig.mirror.state).toBe('COMPLETE');
  });

  test('orders overlapping writes the same way everywhere', async () => {
    const rig = makeRig();
    await Promise.all(
      Array.from({ length: 50 }, (_, index) =>
        writeBytes(rig.mirror, (index % 5) * 2048, block(index + 1, 8192)),
      ),
    );
    expect(disk(rig, 1).memory.data.equals(disk(rig, 0).memory.data)).toBe(true);
    expect(at(rig, 0, 4 * 2048)?.equals(block(50))).toBe(true);
  });

  test('fails a component that can not flush what it was given, and not the flush', async () => {
    const rig = makeRig();
    await writeBytes(rig.mirror, 0, block(1));
    disk(rig, 1).fault.plan = (io) => (io.op === 'flush' ? failing() : null);
    await flush(rig.mirror);
    expect(rig.component(1).state).toBe('DISCONNECTED');
    expect(rig.component(1).missing.isMarked(0)).toBe(true);
  });

  test('fails every flush that was asked for before one failed on the only good copy', async () => {
    const rig = makeRig({ count: 1 });
    await writeBytes(rig.mirror, 0, block(1));
    let failures = 1;
    disk(rig, 0).fault.plan = (io) => (io.op === 'flush' && failures-- > 0 ? failing() : null);
    const ask = () => start(rig.mirror, 'flush', { offsetBytes: 0, lengthBytes: 0 });
    const outcomes = [...(await Promise.all([ask(), ask()])), await ask()];
    expect(outcomes.map((error) => error?.errno)).toEqual(['EIO', 'EIO', undefined]);
  });

  test("tells the caller's next flush of one of its own that failed on the only good copy", async () => {
    const rig = makeRig({ count: 1 });
    await writeBytes(rig.mirror, 0, block(1));
    let failures = 1;
    disk(rig, 0).fault.plan = (io) => (io.op === 'flush' && failures-- > 0 ? failing() : null);
    await expect(rig.mirror.flushAll()).rejects.toMatchObject({ errno: 'EIO' });
    const range = { offsetBytes: 0, lengthBytes: 0 };
    const outcomes = [await start(rig.mirror, 'flush', range), await start(rig.mirror, 'flush', range)];
    expect(outcomes.map((error) => error?.errno)).toEqual(['EIO', undefined]);
  });

  test.each([
    { when: 'together, behind one of its own', isOwnFirst: true },
    { when: 'one behind the other', isOwnFirst: false },
  ])('tells it to all who ask before anybody was told: $when', async ({ isOwnFirst }) => {
    const rig = makeRig({ count: 1 });
    await writeBytes(rig.mirror, 0, block(1));
    let failures = 1;
    disk(rig, 0).fault.plan = (io) => (io.op === 'flush' && failures-- > 0 ? failing() : null);
    await expect(rig.mirror.flushAll()).rejects.toMatchObject({ errno: 'EIO' });
    const ask = () => start(rig.mirror, 'flush', { offsetBytes: 0, lengthBytes: 0 });
    const own = isOwnFirst ? rig.mirror.flushAll() : null;
    const outcomes = [...(await Promise.all([ask(), ask()])), await ask()];
    expect(outcomes.map((error) => error?.errno)).toEqual(['EIO', 'EIO', undefined]);
    await own;
  });

  test('zeroes a trimmed range on every component, so that they stay the same', async () => {
    const rig = makeRig();
    await writeBytes(rig.mirror, 0, block(1));
    expect(await start(rig.mirror, 'trim', { offsetBytes: 0, lengthBytes: 4096 })).toBeNull();
    for (const slot of [0, 1]) expect(at(rig, slot, 0)?.equals(block(0))).toBe(true);
  });

  test('is clean again after five seconds without writes: log empty, label not dirty', async () => {
    const rig = makeRig();
    await writeBytes(rig.mirror, 0, block(1));
    const { store } = disk(rig, 0);
    expect(store.durable.log).toEqual([0]);
    for (let second = 0; second < 7; second++) {
      rig.clock.advance(1000);
      await rig.settle();
    }
    expect(store.durable.log).toEqual([]);
    expect(store.durable.superblock.isRunning).toBe(false);
    expect(store.label.isDirty).toBe(false);
    await writeBytes(rig.mirror, 0, block(2));
    expect(store.durable.log).toEqual([0]);
    expect(store.label.isDirty).toBe(true);
  });

  test('keeps the marks of a missing component on stable storage before its extents leave the log', async () => {
    const rig = makeRig({ options: { extentsMax: 16 }, mediaSizeBytes: 128 * 1_048_576 });
    rig.mirror.drop(rig.component(1), lost('disk1'));
    const { store } = disk(rig, 0);
    for (let extent = 0; extent < 30; extent++) {
      await writeBytes(rig.mirror, extent * 4_194_304, block(extent + 1));
      const hot = new Set(store.durable.log);
      const marked = store.durable.bitmaps.get(1) ?? new Set();
      for (let other = 0; other <= extent; other++)
        expect(hot.has(other) || marked.has(other * 64)).toBe(true);
    }
  });

  test('ends cleanly: everything flushed, nothing hot, and a missing component still marked', async () => {
    const rig = makeRig();
    rig.mirror.drop(rig.component(1), lost('disk1'));
    await writeBytes(rig.mirror, 3 * 65_536, block(1));
    await rig.mirror.close();
    const { durable } = disk(rig, 0).store;
    expect(durable.log).toEqual([]);
    expect(durable.superblock.isRunning).toBe(false);
    expect([...(durable.bitmaps.get(1) ?? [])]).toEqual([3]);
  });

  test('ends cleanly behind a write that the end of another one begins', async () => {
    const rig = makeRig();
    disk(rig, 0).fault.plan = (io) => (io.op === 'write' && io.offsetBytes === 0 ? { kind: 'hold' } : null);
    const ends: (DeviceError | null)[] = [];
    const write = (offsetBytes: number, next: () => void): void => {
      const io = { op: 'write', offsetBytes, lengthBytes: 4096, buffer: block(1), bufferAt: 0 } as const;
      const done = (error: DeviceError | null): void => {
        ends.push(error);
        next();
      };
      rig.mirror.start({ ...io, done });
    };
    write(0, () => write(4096, () => undefined));
    await rig.settle();
    const closed = rig.mirror.close();
    disk(rig, 0).fault.plan = () => null;
    disk(rig, 0).fault.release();
    await closed;
    expect(ends).toEqual([null, null]);
    expect(disk(rig, 0).store.durable.superblock.isRunning).toBe(false);
    expect(at(rig, 1, 4096)?.equals(block(1))).toBe(true);
  });

  test('answers the rest of a long read that is under way at the end, and does not end by it', async () => {
    const rig = makeRig();
    const ends: (string | null)[] = [];
    const read = (next: () => void): void => {
      const io = {
        op: 'read',
        offsetBytes: 0,
        lengthBytes: 4096,
        buffer: Buffer.alloc(4096),
        bufferAt: 0,
      } as const;
      const done = (error: DeviceError | null): void => {
        ends.push(error?.code ?? null);
        next();
      };
      rig.mirror.start({ ...io, done });
    };
    disk(rig, 0).fault.plan = (io) => (io.op === 'read' ? { kind: 'hold' } : null);
    read(() => read(() => undefined));
    const closed = rig.mirror.close();
    disk(rig, 0).fault.release();
    await closed;
    expect(ends).toEqual([null, 'DEVICE_CLOSED']);
  });

  test('resyncs no faster than it is allowed to', async () => {
    const rig = makeRig({ options: { resyncBytesPerSecond: 1_048_576 } });
    rig.mirror.drop(rig.component(1), lost('disk1'));
    await writeBytes(rig.mirror, 0, block(1, 8 * 1_048_576));
    await rig.arrive(1);
    await rig.settle();
    expect(rig.mirror.resyncOf(rig.component(1))?.doneBytes).toBeLessThanOrEqual(1_048_576);
    for (let second = 0; second < 9; second++) {
      rig.clock.advance(1000);
      await rig.settle();
    }
    expect(rig.component(1).state).toBe('ACTIVE');
  });

  test('with the split algorithm lets each component answer a part', async () => {
    const rig = makeRig({ options: { balance: 'split' } });
    const data = Buffer.from(Uint8Array.from({ length: 16_384 }, (_, index) => (index * 31) % 251));
    await writeBytes(rig.mirror, 0, data);
    const reads = [0, 0];
    rig.disks.forEach(({ fault }, slot) => {
      fault.plan = (io) => {
        if (io.op === 'read') reads[slot] = (reads[slot] ?? 0) + io.lengthBytes;
        return null;
      };
    });
    expect((await readBytes(rig.mirror, { offsetBytes: 0, lengthBytes: 16_384 })).equals(data)).toBe(true);
    expect(reads).toEqual([8192, 8192]);
  });
});
