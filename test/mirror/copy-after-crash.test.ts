import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { AreaStore } from '../../src/mirror/area/area-store.js';
import type { AssembledMirror } from '../../src/mirror/start/assembled.js';
import { areaOffsetBytes, EXTENT_SIZE_BYTES } from '../../src/protocol/area-layout.js';
import { REGION_SIZE_BYTES } from '../../src/protocol/geometry.js';
import { readBytes, writeBytes } from '../support/device-requests.js';
import { comeBack, componentOf, MemberWorld, untilComplete } from '../support/member-world.js';
import { lost } from '../support/mirror-rig.js';

/** Six extents, and a last one that is cut off. */
const DISK_BYTES = 26 * 1_048_576;
const DATA_BYTES = 6 * EXTENT_SIZE_BYTES;
const block = (value: number): Buffer => Buffer.alloc(4096, value);

/** `b` is the one that is lost, restarted or promoted. */
async function makeWorld(): Promise<MemberWorld> {
  return await new MemberWorld('ab', { a: DISK_BYTES, b: DISK_BYTES }).create('ab');
}

const write = (running: AssembledMirror, offsetBytes: number, value: number): Promise<void> =>
  writeBytes(running.mirror, offsetBytes, block(value));

const flush = (running: AssembledMirror): Promise<void> => running.mirror.flushAll();

const extentAt = (extent: number): number => extent * EXTENT_SIZE_BYTES;
const regionAt = (region: number): number => region * REGION_SIZE_BYTES;

/** How much the resync of a component has to go over, as it began. */
function amountFor(running: AssembledMirror, name: string): number {
  const progress = running.mirror.resyncOf(componentOf(running, name));
  if (progress === null) throw new Error(`${name} is not copied to`);
  return progress.totalBytes;
}

async function logOf(world: MemberWorld, name: string): Promise<readonly number[]> {
  const { mediaSizeBytes } = world.labelOnMedium(name);
  const opened = await AreaStore.open(world.device(name), areaOffsetBytes(mediaSizeBytes));
  const log = opened.state === 'ok' ? opened.store.readLog() : 'damaged';
  if (log === 'damaged') throw new Error(`${name} has no log`);
  return log;
}

async function expectEqual(world: MemberWorld, running: AssembledMirror): Promise<void> {
  await untilComplete(running);
  await running.close();
  const all = { offsetBytes: 0, lengthBytes: DATA_BYTES };
  const [a, b] = [await readBytes(world.device('a'), all), await readBytes(world.device('b'), all)];
  expect(a.equals(b)).toBe(true);
}

/** Nobody would copy this place, so what was put there unseen shows whether somebody did. */
async function putUnseen(world: MemberWorld, name: string, offsetBytes: number): Promise<void> {
  await writeBytes(world.device(name), offsetBytes, block(0xee));
}

describe('after a crash of the primary', () => {
  test.each([1, 2, 3, 4])(
    'with writes in flight the extents of the log are copied, and nothing else (seed %i)',
    async (seed) => {
      const world = await makeWorld();
      const running = await world.start('ab');
      await write(running, extentAt(1), 1);
      await flush(running);
      await write(running, extentAt(3) + 8192, 2);
      const inFlight = write(running, extentAt(5), 3).catch(() => undefined);
      for (let turn = 0; turn < 3 * seed; turn++) await nextTurn();
      world.crash(seed);
      await Promise.race([inFlight, nextTurn()]);
      // Extent 5 is in one if it had reached that disk.
      const hot = new Set([...(await logOf(world, 'a')), ...(await logOf(world, 'b'))]);
      expect([...hot]).toEqual(expect.arrayContaining([1, 3]));
      await putUnseen(world, 'b', extentAt(2));
      const again = await world.start('ab', { resyncBytesPerSecond: 1 });
      expect(amountFor(again, 'b')).toBe(hot.size * EXTENT_SIZE_BYTES);
      await again.close();
      const end = await world.start('ab');
      await untilComplete(end);
      expect((await readBytes(world.device('b'), { offsetBytes: extentAt(2), lengthBytes: 4096 }))[0]).toBe(
        0xee,
      );
      await putUnseen(world, 'a', extentAt(2));
      await expectEqual(world, end);
    },
  );

  test.each([1, 2, 3, 4, 5, 6])(
    'whose backup went on, the log of either side and what was written since are copied back, and nothing else (seed %i)',
    async (seed) => {
      const world = await makeWorld();
      const running = await world.start('ab');
      await write(running, extentAt(1), 1);
      // This one reaches the log of `a` alone, and its data nobody else.
      world.plans.set('b', () => ({ kind: 'hold' }));
      const inFlight = write(running, extentAt(3), 2).catch(() => undefined);
      for (let turn = 0; turn < 20; turn++) await nextTurn();
      world.crash(seed);
      await Promise.race([inFlight, nextTurn()]);
      world.plans.clear();
      // Extent 3 is in that of `a` if it had reached the disk.
      const hot = new Set([...(await logOf(world, 'a')), ...(await logOf(world, 'b'))]);
      world.gone.add('a');
      const promoted = await world.start('ab', { degraded: true });
      await write(promoted, extentAt(5) + regionAt(2), 3);
      world.gone.clear();
      expect(await comeBack(promoted, 'a')).toBe('SYNCHRONIZING');
      expect(amountFor(promoted, 'a')).toBe(hot.size * EXTENT_SIZE_BYTES + REGION_SIZE_BYTES);
      await expectEqual(world, promoted);
    },
  );
});

describe('a component whose host lost its power', () => {
  test('gets again what it had acknowledged and not flushed, and what it missed, and nothing else', async () => {
    const world = await makeWorld();
    const running = await world.start('ab');
    await write(running, regionAt(3), 1);
    await flush(running);
    await write(running, regionAt(7), 2);
    running.mirror.drop(componentOf(running, 'b'), lost('b'));
    await componentOf(running, 'b').closing;
    await write(running, regionAt(9), 3);
    // What it had in its cache only is gone; what it had flushed is not touched again.
    await writeBytes(world.device('b'), regionAt(7), block(0));
    await putUnseen(world, 'b', regionAt(3) + 8192);
    expect(await comeBack(running, 'b')).toBe('SYNCHRONIZING');
    expect(amountFor(running, 'b')).toBe(2 * REGION_SIZE_BYTES);
    await untilComplete(running);
    await putUnseen(world, 'a', regionAt(3) + 8192);
    await expectEqual(world, running);
  });

  test('is known to have lost it also where the mirror was restarted meanwhile', async () => {
    const world = await makeWorld();
    const running = await world.start('ab');
    await write(running, regionAt(7), 2);
    running.mirror.drop(componentOf(running, 'b'), lost('b'));
    await running.close();
    await writeBytes(world.device('b'), regionAt(7), block(0));
    const again = await world.start('ab');
    expect(amountFor(again, 'b')).toBe(REGION_SIZE_BYTES);
    await expectEqual(world, again);
  });
});

describe('a component that can not flush, as behind a ggated', () => {
  test('counts as having lost all that it was sent since it was copied to, whatever was flushed', async () => {
    const world = await makeWorld();
    world.denyFlush('b');
    const running = await world.start('ab');
    await write(running, regionAt(3), 1);
    await flush(running);
    await write(running, regionAt(7), 2);
    running.mirror.drop(componentOf(running, 'b'), lost('b'));
    await componentOf(running, 'b').closing;
    for (const region of [3, 7]) await writeBytes(world.device('b'), regionAt(region), block(0));
    expect(await comeBack(running, 'b')).toBe('SYNCHRONIZING');
    expect(amountFor(running, 'b')).toBe(2 * REGION_SIZE_BYTES);
    await expectEqual(world, running);
  });

  test.each(['stopped', 'killed'])(
    'counts so too after it was the only good copy, and the mirror was %s and started anew from it',
    async (how) => {
      const world = await makeWorld();
      world.denyFlush('b');
      const running = await world.start('ab');
      running.mirror.drop(componentOf(running, 'a'), lost('a'));
      await componentOf(running, 'a').closing;
      await write(running, regionAt(3), 1);
      if (how === 'stopped') await running.close();
      const again = await world.start('ab');
      await untilComplete(again);
      again.mirror.drop(componentOf(again, 'b'), lost('b'));
      await componentOf(again, 'b').closing;
      await writeBytes(world.device('b'), regionAt(3), block(0));
      expect(await comeBack(again, 'b')).toBe('SYNCHRONIZING');
      await expectEqual(world, again);
      const range = { offsetBytes: regionAt(3), lengthBytes: 4096 };
      expect(await readBytes(world.device('b'), range)).toEqual(block(1));
    },
  );

  test('counts so too when the mirror was stopped in good order', async () => {
    const world = await makeWorld();
    world.denyFlush('b');
    const running = await world.start('ab');
    await write(running, regionAt(3), 1);
    await flush(running);
    await running.close();
    await writeBytes(world.device('b'), regionAt(3), block(0));
    const again = await world.start('ab');
    expect(amountFor(again, 'b')).toBe(REGION_SIZE_BYTES);
    await expectEqual(world, again);
  });
});
