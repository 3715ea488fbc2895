import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import type { AssembledMirror, StartPlan } from '../../src/mirror/start/assembled.js';
import { flush, request } from '../../src/device/request.js';
import { AREA_BLOCK_BYTES } from '../../src/protocol/area-block.js';
import { areaOffsetBytes, superblockAt } from '../../src/protocol/area-layout.js';
import { REGION_SIZE_BYTES } from '../../src/protocol/geometry.js';
import { writeBytes } from '../support/device-requests.js';
import { comeBack, componentOf, MemberWorld, statesOf } from '../support/member-world.js';
import { until } from '../support/until.js';

const block = (value: number): Buffer => Buffer.alloc(4096, value);
const regionAt = (region: number): number => region * REGION_SIZE_BYTES;

const write = (running: AssembledMirror, region: number, value: number): Promise<void> =>
  writeBytes(running.mirror, regionAt(region), block(value));

/** `a` is on the mirror's own host. */
async function makeWorld(): Promise<MemberWorld> {
  const world = await new MemberWorld('ab').create('ab');
  world.noted.add('a');
  return world;
}

/** The next flush of a disk fails, and the kernel under it forgets what was dirty. */
function failNextFlush(world: MemberWorld, name: string): void {
  let left = 1;
  world.device(name).failing = ({ op }) => op === 'flush' && left-- > 0;
}

/** Nothing reaches the disks once `isOver`. The mirror's process is killed when this resolves. */
async function killOnce(world: MemberWorld, isOver: () => boolean): Promise<void> {
  for (const name of ['a', 'b']) world.plans.set(name, () => (isOver() ? { kind: 'hold' } : null));
  await until('the kill', isOver);
  for (let turn = 0; turn < 5; turn++) await nextTurn();
  world.plans.clear();
}

/** Its flush fails, and it is killed before anybody has noted that. */
async function killInFailedFlush(world: MemberWorld, running: AssembledMirror): Promise<void> {
  let hasFailed = false;
  world.device('a').failing = ({ op }) => !hasFailed && (hasFailed = op === 'flush');
  const flushing = flush(running.mirror).catch(() => undefined);
  await Promise.race([killOnce(world, () => hasFailed), flushing]);
  expect(hasFailed).toBe(true);
}

/** Brings back whoever is dropped, until all are in step, as the daemon does. */
async function untilWhole(running: AssembledMirror): Promise<void> {
  for (let round = 0; round < 5 && running.mirror.state !== 'COMPLETE'; round++) {
    for (const { name, isConnected } of running.mirror.components)
      if (!isConnected) await comeBack(running, name);
    await until('the resync to end', () =>
      running.mirror.components.every(({ state }) => state === 'ACTIVE' || state === 'DISCONNECTED'),
    );
  }
  expect(running.mirror.state).toBe('COMPLETE');
}

/** Both have it, without their caches, too, and nobody doubts anything any more. */
async function expectSafe(world: MemberWorld, running: AssembledMirror, region: number): Promise<void> {
  await untilWhole(running);
  await running.close();
  expect([...world.inDoubt]).toEqual([]);
  for (const name of ['a', 'b']) expect(world.data(name)[regionAt(region)], name).toBe(1);
  const lengthBytes = running.mirror.mediaSizeBytes;
  expect(world.data('a', lengthBytes).equals(world.data('b', lengthBytes))).toBe(true);
}

describe('a mirror that is killed between a failed flush and its note', () => {
  test('takes the other component for the source, and writes the one that failed anew', async () => {
    const world = await makeWorld();
    const running = await world.start('ab');
    await write(running, 3, 1);
    await killInFailedFlush(world, running);
    const again = await world.start('ab', { resyncBytesPerSecond: 1 });
    expect(statesOf(again)).toBe('a SYNCHRONIZING, b ACTIVE');
    expect(componentOf(again, 'a').isCacheDoubtful).toBe(true);
    await again.close();
    // Also where that is interrupted.
    await expectSafe(world, await world.start('ab'), 3);
  });

  test('knows what it can not vouch for where there was no other component, and writes it anew when one comes', async () => {
    const world = await makeWorld();
    world.gone.add('b');
    const running = await world.start('ab', { degraded: true });
    await write(running, 3, 1);
    await killInFailedFlush(world, running);
    let doubt: string | null = null;
    const refuse = (plan: StartPlan): never => {
      doubt = plan.doubt;
      throw new Error('refused');
    };
    // Whoever refuses it changes nothing.
    for (let round = 0; round < 2; round++)
      await expect(world.start('ab', { degraded: true, approve: refuse })).rejects.toThrow('refused');
    const alone = await world.start('ab', { degraded: true });
    const { mediaSizeBytes } = alone.mirror;
    expect(doubt).toBe(
      `a may have lost what was written to it last, because a flush of it failed: ` +
        `at most ${mediaSizeBytes} bytes, 0 to ${mediaSizeBytes - 1}`,
    );
    expect(componentOf(alone, 'a').trouble).toContain('may have lost');
    expect(componentOf(alone, 'a').missing.isMarked(3)).toBe(true);
    await alone.close();
    world.gone.clear();
    await expectSafe(world, await world.start('ab'), 3);
  });

  test('and on another host, knows that none of its own were in doubt', async () => {
    const world = await makeWorld();
    const running = await world.start('ab');
    await write(running, 3, 1);
    await killInFailedFlush(world, running);
    world.crash(1);
    const again = await world.start('ab', { resyncBytesPerSecond: 1 });
    expect(statesOf(again)).toBe('a ACTIVE, b SYNCHRONIZING');
    await again.close();
  });

  test('but without a flush under way doubts nothing', async () => {
    const world = await makeWorld();
    const running = await world.start('ab');
    await write(running, 3, 1);
    await flush(running.mirror);
    await killOnce(world, () => true);
    expect([...world.inDoubt]).toEqual([]);
  });
});

describe('a mirror whose process was killed with writes in the cache of its host', () => {
  test('writes them anew when the first flush of the next process fails', async () => {
    const world = await makeWorld();
    const running = await world.start('ab');
    await write(running, 3, 1);
    await killOnce(world, () => true);
    // Slow, so that it fails while the other one is still copied to.
    const again = await world.start('ab', { resyncBytesPerSecond: 1 });
    expect(statesOf(again)).toBe('a ACTIVE, b SYNCHRONIZING');
    failNextFlush(world, 'a');
    await expect(flush(again.mirror)).rejects.toThrow('flush');
    expect(componentOf(again, 'a').missing.isMarked(3)).toBe(true);
    await again.close();
    await expectSafe(world, await world.start('ab'), 3);
  });
});

describe('a start after a kill that fails with its first flush', () => {
  test.each([
    { what: 'that flush alone', gone: '', failures: 1, isNoted: false },
    { what: 'that flush alone', gone: 'b', failures: 1, isNoted: false },
    { what: 'every flush of a disk that keeps a note', gone: '', failures: Infinity, isNoted: true },
    { what: 'every flush of a disk that keeps a note', gone: 'b', failures: Infinity, isNoted: true },
  ])(
    'leaves its doubt to the next one by marks ($what, without: $gone)',
    async ({ gone, failures, isNoted }) => {
      const world = await new MemberWorld('ab').create('ab');
      if (isNoted) world.noted.add('a');
      for (const name of gone) world.gone.add(name);
      const running = await world.start('ab', { degraded: true });
      await write(running, 3, 1);
      await killOnce(world, () => true);
      expect([...world.inDoubt]).toEqual([]);
      // What was in the cache is lost with the first one for good.
      let left = failures;
      world.device('a').failing = ({ op }) => op === 'flush' && left-- > 0;
      await expect(world.start('ab', { degraded: true })).rejects.toThrow('flush');
      world.device('a').failing = () => false;
      world.gone.clear();
      const next = await world.start('ab', { resyncBytesPerSecond: 1 });
      expect(componentOf(next, 'a').isCacheDoubtful).toBe(true);
      expect(componentOf(next, 'a').missing.isMarked(3)).toBe(true);
      await next.close();
      await expectSafe(world, await world.start('ab'), 3);
    },
  );
});

describe('a component whose private area is repaired when it is opened, in which its server tells of a failed flush', () => {
  /** One that is killed, and then the system of `b` forgets what it has not written, of which it tells the next session. */
  async function makeDebt(): Promise<MemberWorld> {
    const world = await makeWorld();
    const running = await world.start('ab');
    await write(running, 3, 1);
    await killOnce(world, () => true);
    const offsetBytes = areaOffsetBytes(running.mirror.mediaSizeBytes) + superblockAt(1);
    await request(
      world.device('b'),
      'write',
      { offsetBytes, lengthBytes: AREA_BLOCK_BYTES },
      Buffer.alloc(AREA_BLOCK_BYTES, 1),
    );
    failNextFlush(world, 'b');
    return world;
  }

  test('is there, and written anew at that start', async () => {
    const world = await makeDebt();
    const next = await world.start('ab', { resyncBytesPerSecond: 1 });
    expect(statesOf(next)).toBe('a ACTIVE, b SYNCHRONIZING');
    expect(componentOf(next, 'b').isCacheDoubtful).toBe(true);
    await next.close();
    // Also where that is interrupted.
    await expectSafe(world, await world.start('ab'), 3);
  });

  test('is to hear it again from its server if the start is refused for another reason', async () => {
    const world = await makeDebt();
    const refuse = (): never => {
      throw new Error('refused');
    };
    await expect(world.start('ab', { approve: refuse })).rejects.toThrow('refused');
    expect([...world.toldAgain]).toEqual(['b']);
    world.toldAgain.clear();
    const running = await world.start('ab');
    failNextFlush(world, 'b');
    await untilWhole(running);
    await running.close();
    // Of those that it had noted it is not.
    expect([...world.toldAgain]).toEqual([]);
  });

  test('is there, and written anew, when it comes back to a mirror that runs', async () => {
    const world = await makeDebt();
    world.gone.add('b');
    const next = await world.start('ab', { degraded: true });
    world.gone.clear();
    await expectSafe(world, next, 3);
  });
});
