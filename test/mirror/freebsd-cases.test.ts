import { describe, expect, test } from 'vitest';
import type { AssembledMirror } from '../../src/mirror/start/assemble.js';
import { decideStart } from '../../src/mirror/decide/start-decision.js';
import type { GmirrorLabel } from '../../src/protocol/gmirror-label.js';
import { flush, pattern, readBytes, writeBytes } from '../support/device-requests.js';
import { FakeClock } from '../support/fake-clock.js';
import type { Fault } from '../support/fault-device.js';
import {
  comeBack,
  componentOf,
  DISK_BYTES,
  INSERTED,
  MemberWorld,
  statesOf,
  untilComplete,
} from '../support/member-world.js';
import { until } from '../support/until.js';

/**
 * FreeBSD's own tests of its mirror, restated with our disks in memory; the number is the test's. Tests 1 and 8 are in
 * freebsd-tests.test.ts, sync_read_error_* in holes-gmirror.test.ts, gate's in test/interop and test/cli/serve.test.ts.
 */

const KIB = 1024;
const LENGTH = 512 * KIB;
const LABEL_AT = DISK_BYTES - 512;

async function writeAll(running: AssembledMirror, data: Buffer, requestBytes: number): Promise<void> {
  for (let at = 0; at < data.length; at += requestBytes)
    await writeBytes(running.mirror, at, data.subarray(at, at + requestBytes));
  await flush(running.mirror);
}

async function expectData(running: AssembledMirror, data: Buffer, requestBytes: number): Promise<void> {
  for (let offsetBytes = 0; offsetBytes < data.length; offsetBytes += requestBytes) {
    const found = await readBytes(running.mirror, { offsetBytes, lengthBytes: requestBytes });
    expect(found.equals(data.subarray(offsetBytes, offsetBytes + requestBytes))).toBe(true);
  }
}

const mediumOf = (world: MemberWorld, name: string): Buffer => world.data(name, LENGTH);

describe.each([
  { number: '2 and 3', balance: 'round-robin', requestBytes: 2 * KIB },
  { number: '4', balance: 'load', requestBytes: 2 * KIB },
  { number: '5', balance: 'split', requestBytes: 8 * KIB },
  { number: '7', balance: 'prefer', requestBytes: 2 * KIB },
] as const)('$number: three components and balance $balance', ({ balance, requestBytes }) => {
  test('hold what was written, and go on as one after the other is removed, but for the last', async () => {
    const world = await new MemberWorld('abc').create('abc');
    const running = await world.start('abc', { balance });
    const data = pattern(LENGTH, 3);
    await writeAll(running, data, requestBytes);
    await expectData(running, data, requestBytes);
    for (const name of 'abc') expect(mediumOf(world, name).equals(data)).toBe(true);
    for (const name of 'ab') {
      await running.members.remove(componentOf(running, name));
      await expectData(running, data, requestBytes);
    }
    await expect(running.members.remove(componentOf(running, 'c'))).rejects.toThrow(
      "Can't remove the last ACTIVE component c.",
    );
    await expectData(running, data, requestBytes);
    await running.close();
    expect(await running.members.eraseAll()).toEqual([]);
    for (const name of 'abc') {
      expect(await world.label(name)).toBeNull();
      expect(mediumOf(world, name).equals(data)).toBe(true);
    }
  });
});

test('6: with balance split, a disk that is inserted later holds the data when it is synchronized', async () => {
  const world = await new MemberWorld('abc').create('ab');
  const running = await world.start('ab', { balance: 'split' });
  const data = pattern(LENGTH, 4);
  await writeAll(running, data, 8 * KIB);
  await running.members.insert(world.opener('c'), INSERTED);
  await expectData(running, data, 8 * KIB);
  await untilComplete(running);
  await expectData(running, data, 8 * KIB);
  await running.close();
  expect(mediumOf(world, 'c').equals(data)).toBe(true);
});

test('9: who failed to write its label stays out after restarts, and a third one that comes late ends the same', async () => {
  const world = await new MemberWorld('abc').create('ab');
  const clock = new FakeClock();
  const running = await world.start('ab', { clock });
  const data = pattern(LENGTH, 5);
  await writeAll(running, data, 64 * KIB);
  world.plans.set('b', ({ op, offsetBytes }) =>
    op === 'write' && offsetBytes === LABEL_AT ? { kind: 'fail', errno: 'EIO' } : null,
  );
  // After a while without writes labels are made clean.
  clock.advance(6_000);
  await until('the loss of b', () => statesOf(running) === 'a ACTIVE, b DISCONNECTED');
  await running.mirror.lossesRecorded();
  world.plans.clear();
  expect(await running.members.forget()).toEqual(['b']);
  await running.members.insert(world.opener('c'), INSERTED);
  await untilComplete(running);
  await running.close();

  await expect(world.start('ab', { degraded: true })).rejects.toThrow('b is no component any more, says a');
  world.gone.add('c');
  const again = await world.start('ac', { degraded: true });
  await writeBytes(again.mirror, 0, Buffer.alloc(2 * KIB, 0xaa));
  world.gone.clear();
  await comeBack(again, 'c');
  await untilComplete(again);
  await again.close();
  expect(mediumOf(world, 'c').equals(mediumOf(world, 'a'))).toBe(true);
  expect(mediumOf(world, 'c')[0]).toBe(0xaa);
});

describe('10 to 13: a request that fails once', () => {
  /** Labels as the kernel would find them if it were started now, in the order of `names`. */
  const labelsOf = (world: MemberWorld, names: string): GmirrorLabel[] =>
    Array.from(names, (name) => world.labelOnMedium(name));

  /** What the kernel would make of both. */
  function fatesOf(world: MemberWorld): string[] {
    const decision = decideStart({
      labels: labelsOf(world, 'ab'),
      isForced: false,
      era: 'FreeBSD 12',
      rules: 'kernel',
    });
    return decision.outcome === 'run' ? decision.components.map(({ fate }) => fate) : [decision.outcome];
  }

  async function failOnce(
    operations: readonly string[],
    fault: Fault,
    request: (running: AssembledMirror) => Promise<unknown>,
  ): Promise<{ world: MemberWorld; running: AssembledMirror; data: Buffer }> {
    const world = await new MemberWorld('ab').create('a');
    const running = await world.start('a', { balance: 'prefer' });
    const data = pattern(LENGTH * 2, 6);
    await writeAll(running, data, 128 * KIB);
    await running.members.insert(world.opener('b'), INSERTED);
    await untilComplete(running);
    running.mirror.setPriority(componentOf(running, 'a'), 9);
    world.plans.set('a', ({ op }) => (operations.includes(op) ? fault : null));
    await request(running);
    return { world, running, data };
  }

  const readMiddle = (running: AssembledMirror): Promise<Buffer> =>
    readBytes(running.mirror, { offsetBytes: 512 * KIB, lengthBytes: 2 * KIB });

  /** It comes back, and not as the one that it was. */
  async function expectReturn(world: MemberWorld, running: AssembledMirror): Promise<void> {
    world.plans.clear();
    expect(await comeBack(running, 'a')).toBe('SYNCHRONIZING');
    await untilComplete(running);
    await running.close();
    expect(world.data('a').equals(world.data('b'))).toBe(true);
    const [one, two] = labelsOf(world, 'ab');
    expect([one?.genid, one?.syncid]).toEqual([two?.genid, two?.syncid]);
    expect(fatesOf(world)).toEqual(['ACTIVE', 'ACTIVE']);
  }

  test('10: a bad sector is read from the other one and rewritten, and costs no component', async () => {
    const { world, running, data } = await failOnce(
      ['read'],
      { kind: 'fail', errno: 'EIO' },
      async (mirror) => {
        expect(
          (await readMiddle(mirror)).equals(pattern(LENGTH * 2, 6).subarray(LENGTH, LENGTH + 2 * KIB)),
        ).toBe(true);
      },
    );
    await until('the repair', () => world.events.includes('a repaired'));
    expect(statesOf(running)).toBe('a ACTIVE, b ACTIVE');
    world.plans.clear();
    await running.close();
    expect(mediumOf(world, 'a').equals(data.subarray(0, LENGTH))).toBe(true);
  });

  test('10: one that can’t be rewritten either is broken to a kernel: genids differ by exactly 1', async () => {
    const { world, running, data } = await failOnce(
      ['read', 'write'],
      { kind: 'fail', errno: 'EIO' },
      async (mirror) => await readMiddle(mirror),
    );
    await until('the loss', () => statesOf(running) === 'a DISCONNECTED, b ACTIVE');
    await running.mirror.lossesRecorded();
    expect((await readMiddle(running)).equals(data.subarray(LENGTH, LENGTH + 2 * KIB))).toBe(true);
    const [one, two] = labelsOf(world, 'ab');
    expect((two?.genid ?? 0) - (one?.genid ?? 0)).toBe(1);
    expect(fatesOf(world)).toEqual(['DROPPED', 'ACTIVE']);
    await expectReturn(world, running);
  });

  test('11: one that is gone when it is read (ENXIO) is none that failed: syncids differ by 1, and it is synchronized', async () => {
    const { world, running } = await failOnce(
      ['read', 'write'],
      { kind: 'fail', errno: 'ENXIO' },
      async (mirror) => await readMiddle(mirror),
    );
    await until('the loss', () => statesOf(running) === 'a DISCONNECTED, b ACTIVE');
    await writeBytes(running.mirror, 0, Buffer.alloc(2 * KIB, 1));
    const [one, two] = labelsOf(world, 'ab');
    expect([one?.genid, (two?.syncid ?? 0) - (one?.syncid ?? 0)]).toEqual([two?.genid, 1]);
    expect(fatesOf(world)).toEqual(['SYNCHRONIZING', 'ACTIVE']);
    await expectReturn(world, running);
  });

  test.each([
    { number: 12, errno: 'EIO', differs: { genid: 1, syncid: 0 }, fates: ['DROPPED', 'ACTIVE'] },
    { number: 13, errno: 'ENXIO', differs: { genid: 0, syncid: 1 }, fates: ['SYNCHRONIZING', 'ACTIVE'] },
  ] as const)(
    '$number: a write that fails with $errno is read back, and labels say at once who is behind',
    async (row) => {
      const written = Buffer.alloc(2 * KIB, 0x77);
      const { world, running } = await failOnce(['write'], { kind: 'fail', errno: row.errno }, (mirror) =>
        writeBytes(mirror.mirror, 512 * KIB, written),
      );
      expect(statesOf(running)).toBe('a DISCONNECTED, b ACTIVE');
      expect((await readMiddle(running)).equals(written)).toBe(true);
      const [one, two] = labelsOf(world, 'ab');
      const difference = {
        genid: (two?.genid ?? 0) - (one?.genid ?? 0),
        syncid: (two?.syncid ?? 0) - (one?.syncid ?? 0),
      };
      expect(difference).toEqual(row.differs);
      expect(fatesOf(world)).toEqual(row.fates);
      await expectReturn(world, running);
    },
  );
});

describe('what the description adds to them', () => {
  test('DIRTY is on every medium before the first write is, and gone 5 s after the last', async () => {
    const world = await new MemberWorld('ab').create('ab');
    const clock = new FakeClock();
    const running = await world.start('ab', { clock });
    const isDirty = (): boolean[] => Array.from('ab', (name) => world.labelOnMedium(name).diskFlags.dirty);
    expect(isDirty()).toEqual([false, false]);
    let writes = 0;
    for (const name of 'ab')
      world.plans.set(name, ({ op, offsetBytes }) => {
        if (op === 'write' && offsetBytes === 8192) {
          writes += 1;
          expect(isDirty()).toEqual([true, true]);
        }
        return null;
      });
    await writeBytes(running.mirror, 8192, Buffer.alloc(512, 1));
    expect(writes).toBe(2);
    clock.advance(4_500);
    await running.mirror.flushAll();
    expect(isDirty()).toEqual([true, true]);
    clock.advance(1_000);
    await until('clean labels', () => !isDirty().includes(true));
    await running.close();
  });

  test('a start without one of two raises syncid by exactly 1, however much is written', async () => {
    const world = await new MemberWorld('ab').create('ab');
    world.gone.add('b');
    const running = await world.start('a', { degraded: true });
    for (let at = 0; at < 4; at++) await writeBytes(running.mirror, at * 65_536, Buffer.alloc(512, 1));
    expect([world.labelOnMedium('a').syncid, world.labelOnMedium('b').syncid]).toEqual([2, 1]);
    await running.close();
  });

  test('NOAUTOSYNC: who comes back is STALE, and a rebuild cures it', async () => {
    const world = await new MemberWorld('ab').create('ab', { noAutoSync: true });
    const running = await world.start('ab');
    running.mirror.drop(componentOf(running, 'b'), new Error('gone') as never);
    await writeBytes(running.mirror, 0, Buffer.alloc(512, 9));
    expect(await comeBack(running, 'b')).toBe('STALE');
    await running.mirror.startResync(componentOf(running, 'b'));
    await untilComplete(running);
    await running.close();
    expect(world.data('b').equals(world.data('a'))).toBe(true);
  });

  test('a copy that a stop ended goes on where it was', async () => {
    const world = await new MemberWorld('ab').create('a');
    const running = await world.start('a');
    const data = pattern(LENGTH * 2, 8);
    await writeAll(running, data, 128 * KIB);
    let copied = 0;
    world.plans.set('b', ({ op, offsetBytes, lengthBytes }) => {
      if (op !== 'write' || offsetBytes >= LENGTH * 2) return null;
      copied += lengthBytes;
      return copied > LENGTH ? { kind: 'fail', errno: 'ENXIO', code: 'DEVICE_LOST' } : null;
    });
    await running.members.insert(world.opener('b'), INSERTED);
    await until('the end of the copy', () => componentOf(running, 'b').state === 'DISCONNECTED');
    // It may have been lost before it could flush: then all of it is copied again, and that is noticed next.
    world.plans.clear();
    // Its medium is opened again when what was under way on it is over.
    await until('b to come back', () => comeBack(running, 'b').catch(() => null));
    await until('some of the copy', () => componentOf(running, 'b').counters.bytesWritten > 0);
    await running.close();
    const again = await world.start('ab');
    await untilComplete(again);
    await again.close();
    expect(world.data('b').equals(world.data('a'))).toBe(true);
  });
});
