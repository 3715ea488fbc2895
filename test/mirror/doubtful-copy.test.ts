import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import type { AssembledMirror } from '../../src/mirror/start/assembled.js';
import { flush } from '../../src/device/request.js';
import { REGION_SIZE_BYTES } from '../../src/protocol/geometry.js';
import { writeBytes } from '../support/device-requests.js';
import { comeBack, componentOf, MemberWorld, statesOf, untilComplete } from '../support/member-world.js';
import { until } from '../support/until.js';

/** Of the points at which a mirror ends, every so many are tried. */
const STEP = 7;

const block = (value: number): Buffer => Buffer.alloc(4096, value);
const regionAt = (region: number): number => region * REGION_SIZE_BYTES;

const write = (running: AssembledMirror, region: number, value: number): Promise<void> =>
  writeBytes(running.mirror, regionAt(region), block(value));

/** Its next flush fails, and the kernel under it forgets what was dirty. */
async function failFlush(world: MemberWorld, running: AssembledMirror): Promise<void> {
  let left = 1;
  world.device('a').failing = ({ op }) => op === 'flush' && left-- > 0;
  await expect(flush(running.mirror)).rejects.toThrow('flush');
}

/** `a` alone was written, and has failed to flush that. */
async function makeAlone(): Promise<{ world: MemberWorld; running: AssembledMirror }> {
  const world = await new MemberWorld('ab').create('ab');
  world.gone.add('b');
  const running = await world.start('ab', { degraded: true });
  await write(running, 3, 1);
  await failFlush(world, running);
  world.gone.clear();
  return { world, running };
}

const isActive = (running: AssembledMirror, name: string): boolean =>
  componentOf(running, name).state === 'ACTIVE';

/** Brings back whoever is dropped, until all are in step, as the daemon does. */
async function untilWhole(running: AssembledMirror): Promise<void> {
  for (let round = 0; round < 4 && running.mirror.state !== 'COMPLETE'; round++) {
    for (const { name, isConnected } of running.mirror.components)
      if (!isConnected) await comeBack(running, name);
    await until('the resync to end', () =>
      running.mirror.components.every(({ state }) => state === 'ACTIVE' || state === 'DISCONNECTED'),
    );
  }
  await untilComplete(running);
}

function expectEqual(world: MemberWorld, { mirror }: AssembledMirror): void {
  const lengthBytes = mirror.mediaSizeBytes;
  expect(world.data('a', lengthBytes).equals(world.data('b', lengthBytes))).toBe(true);
}

/** Both have it, without their caches, too. */
async function expectSafe(world: MemberWorld, running: AssembledMirror): Promise<void> {
  await untilWhole(running);
  await running.close();
  expectEqual(world, running);
  expect(world.data('a')[regionAt(3)]).toBe(1);
}

describe('the only good copy, when it has failed a flush', () => {
  test('is written anew once another one has everything', async () => {
    const { world, running } = await makeAlone();
    await write(running, 5, 2);
    await running.mirror.flushAll();
    await comeBack(running, 'b');
    await until('b to be in step', () => isActive(running, 'b'));
    expect(statesOf(running)).toBe('a DISCONNECTED, b ACTIVE');
    await expectSafe(world, running);
  });

  test('is known to need that after a restart, alone or not', async () => {
    const { world, running } = await makeAlone();
    await running.mirror.flushAll();
    await running.close();
    world.gone.add('b');
    const alone = await world.start('ab', { degraded: true });
    expect(componentOf(alone, 'a').missing.isMarked(3)).toBe(true);
    await alone.close();
    world.gone.clear();
    await expectSafe(world, await world.start('ab'));
  });

  test('is known to need that also when it could not flush the note of it before the mirror ended', async () => {
    const world = await new MemberWorld('ab').create('ab');
    world.gone.add('b');
    const running = await world.start('ab', { degraded: true });
    await write(running, 3, 1);
    world.device('a').failing = ({ op }) => op === 'flush';
    await expect(running.close()).rejects.toThrow('flush');
    world.device('a').failing = () => false;
    world.gone.clear();
    await expectSafe(world, await world.start('ab'));
  });

  test('vouches after a restart for what it had in its cache only: nobody could be told that it was not flushed', async () => {
    const { world, running } = await makeAlone();
    world.gone.add('b');
    await write(running, 7, 2);
    let left = 1;
    world.device('a').failing = ({ op }) => op === 'flush' && left-- > 0;
    await expect(running.mirror.flushAll()).rejects.toThrow('flush');
    await until('the failure to be noted', () => !running.mirror.mustWait);
    // Its process is killed, and the next one finds all of it in the cache.
    const alone = await world.start('ab', { degraded: true });
    await flush(alone.mirror);
    expect([3, 7].map((region) => world.data('a')[regionAt(region)])).toEqual([1, 2]);
    expect(componentOf(alone, 'a').isCacheDoubtful).toBe(true);
    await alone.close();
  });

  test.each(['read', 'write', 'flush'] as const)(
    'lets the first flush after a restart fail where it can not be written over itself: a %s fails',
    async (failing) => {
      const { world, running } = await makeAlone();
      world.gone.add('b');
      await running.close();
      let isRenewing = false;
      let left = 1;
      world.plans.set('a', ({ op, offsetBytes }) => {
        isRenewing ||= op === 'read' && offsetBytes === regionAt(3);
        return isRenewing && op === failing && left-- > 0 ? { kind: 'fail', errno: 'EIO' } : null;
      });
      const alone = await world.start('ab', { degraded: true });
      await expect(flush(alone.mirror)).rejects.toMatchObject({ errno: 'EIO' });
      await flush(alone.mirror);
      await alone.close();
    },
  );

  test('has nothing marked any more when that is done', async () => {
    const { world, running } = await makeAlone();
    await untilWhole(running);
    await running.close();
    const again = await world.start('ab');
    expect(statesOf(again)).toBe('a ACTIVE, b ACTIVE');
    expect(again.mirror.components.map(({ missing }) => missing.countMarked)).toEqual([0, 0]);
    await again.close();
  });

  test('is not believed by checksums where a crash came before its loss was noted', async () => {
    const { world, running } = await makeAlone();
    await comeBack(running, 'b');
    let isNoted = false;
    // From the moment on when b is in step nothing is written any more.
    for (const name of ['a', 'b'])
      world.plans.set(name, () => ((isNoted ||= isActive(running, 'b')) ? { kind: 'hold' } : null));
    await until('b to be in step', () => isActive(running, 'b'));
    world.plans.clear();
    const again = await world.start('ab', { resyncBytesPerSecond: 1 });
    expect(statesOf(again)).toBe('a SYNCHRONIZING, b ACTIVE');
    expect(componentOf(again, 'a').isCacheDoubtful).toBe(true);
    await again.close();
    const third = await world.start('ab', { resyncBytesPerSecond: 1 });
    expect(statesOf(third)).toBe('a SYNCHRONIZING, b ACTIVE');
    expect(componentOf(third, 'a').isCacheDoubtful).toBe(true);
    await third.close();
    await expectSafe(world, await world.start('ab'));
  });

  test('is marked by a failed flush of the mirror itself, too, of which the caller is told once', async () => {
    const { world, running } = await makeAlone();
    await write(running, 7, 2);
    world.device('a').failing = ({ op }) => op === 'flush';
    await expect(running.mirror.journal.writeAll()).rejects.toThrow('flush');
    world.device('a').failing = () => false;
    expect(componentOf(running, 'a').missing.isMarked(7)).toBe(true);
    await expect(flush(running.mirror)).rejects.toThrow('flush');
    await flush(running.mirror);
    await expectSafe(world, running);
  });

  test('is told of at the end where no flush of a caller came that could have been told', async () => {
    const { world, running } = await makeAlone();
    await write(running, 7, 2);
    let left = 1;
    world.device('a').failing = ({ op }) => op === 'flush' && left-- > 0;
    await expect(running.mirror.flushAll()).rejects.toThrow('flush');
    await expect(running.close()).rejects.toThrow('flush');
    await expectSafe(world, await world.start('ab'));
  });

  test('goes on alone for ever', async () => {
    const { world, running } = await makeAlone();
    for (let round = 1; round <= 3; round++) {
      await write(running, 3, 1 + round);
      await running.mirror.flushAll();
      await failFlush(world, running);
    }
    expect(statesOf(running)).toBe('a ACTIVE, b DISCONNECTED');
    await running.close();
    world.gone.add('b');
    await (await world.start('ab', { degraded: true })).close();
  });
});

describe('a mirror that ends at some point while its doubtful copy is replaced', () => {
  /** The requests of both disks from the return of `b` on are held after so many, for ever. */
  async function killAfter(count: number): Promise<{ world: MemberWorld; isOver: boolean }> {
    const { world, running } = await makeAlone();
    let left = count;
    for (const name of ['a', 'b']) world.plans.set(name, () => (left-- > 0 ? null : { kind: 'hold' }));
    comeBack(running, 'b')
      .then(() => untilWhole(running))
      .catch(() => undefined);
    await until('the kill or the end', () => left <= 0 || running.mirror.state === 'COMPLETE');
    for (let turn = 0; turn < 5; turn++) await nextTurn();
    world.plans.clear();
    return { world, isOver: left > 0 };
  }

  test('by a kill, goes on replacing it', async () => {
    for (let count = 0; ; count += STEP) {
      const { world, isOver } = await killAfter(count);
      if (isOver) break;
      await expectSafe(world, await world.start('ab'));
    }
  });

  test('by a loss of power, has two equal copies again', async () => {
    for (let count = 0; ; count += STEP) {
      const { world, isOver } = await killAfter(count);
      if (isOver) break;
      world.crash(count);
      const again = await world.start('ab');
      await untilWhole(again);
      await again.close();
      expectEqual(world, again);
    }
  });
});
