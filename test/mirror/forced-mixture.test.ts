import { describe, expect, test } from 'vitest';
import type { AssembledMirror } from '../../src/mirror/start/assembled.js';
import { SPLIT_BRAIN_POLICIES } from '../../src/mirror/decide/split-brain-policy.js';
import { REGION_SIZE_BYTES } from '../../src/protocol/geometry.js';
import { writeBytes } from '../support/device-requests.js';
import { comeBack, componentOf, MemberWorld, statesOf, untilComplete } from '../support/member-world.js';

const block = (value: number): Buffer => Buffer.alloc(4096, value);
const regionAt = (region: number): number => region * REGION_SIZE_BYTES;

const write = (running: AssembledMirror, region: number, value: number): Promise<void> =>
  writeBytes(running.mirror, regionAt(region), block(value));

/** `b` has some of what `a` wrote without it: the copy was cut off, and `a` is gone. */
async function cutOff(names = 'ab'): Promise<MemberWorld> {
  const world = await new MemberWorld(names).create(names);
  world.gone.add('b');
  const alone = await world.start(names, { degraded: true });
  for (const region of [1, 2, 3]) await write(alone, region, region);
  await alone.close();
  world.gone.clear();
  const copying = await world.start(names, { resyncBytesPerSecond: 1 });
  expect(statesOf(copying)).toContain('b SYNCHRONIZING');
  await copying.close();
  world.gone.add('a');
  return world;
}

function without(world: MemberWorld, ...names: readonly string[]): void {
  world.gone.clear();
  for (const name of names) world.gone.add(name);
}

const forced = { degraded: true, allowsMixture: true } as const;

/** What `a` has kept. */
function expectKept(world: MemberWorld): void {
  expect([1, 2, 3].map((region) => world.data('a')[regionAt(region)])).toEqual([1, 2, 3]);
}

describe('a component whose resync did not end, without the one that it was copied from', () => {
  test('is started from only where a person has said so', async () => {
    const world = await cutOff();
    await expect(world.start('ab', { degraded: true })).rejects.toThrow('mixture of old and new');
    await expect(world.start('ab', { degraded: true, source: 'b' })).rejects.toThrow(
      'mixture of old and new',
    );
    await (await world.start('ab', forced)).close();
  });

  test('is not started from where its source is there', async () => {
    const world = await cutOff();
    world.gone.clear();
    const running = await world.start('ab', { ...forced, resyncBytesPerSecond: 1 });
    expect(statesOf(running)).toBe('a ACTIVE, b SYNCHRONIZING');
    await running.close();
    expectKept(world);
  });

  test.each(SPLIT_BRAIN_POLICIES)(
    'is a history of its own from then on: its source comes back as a split brain, whatever was written (%s)',
    async (afterSplitBrain) => {
      for (const writes of [[], [5], [5, 6, 7, 8]]) {
        const world = await cutOff();
        const running = await world.start('ab', { ...forced, afterSplitBrain });
        for (const region of writes) await write(running, region, 9);
        world.gone.clear();
        expect(await comeBack(running, 'a')).toBe('split brain');
        expect(componentOf(running, 'a').state).toBe('DISCONNECTED');
        await running.close();
        // Nor when both are there at a start, in either order.
        for (const names of ['ab', 'ba'])
          await expect(world.start(names, { afterSplitBrain })).rejects.toThrow('split brain');
        expectKept(world);
      }
    },
  );

  test('comes to its source as a split brain when that has gone on, or has not', async () => {
    for (const isWritten of [false, true]) {
      const world = await cutOff();
      await (await world.start('ab', forced)).close();
      without(world, 'b');
      const running = await world.start('ab', { degraded: true });
      if (isWritten) await write(running, 5, 5);
      world.gone.clear();
      expect(await comeBack(running, 'b')).toBe('split brain');
      await running.close();
      expectKept(world);
    }
  });

  test('is overwritten in full when a person gives it up, or the source is', async () => {
    for (const [given, kept] of ['ab', 'ba']) {
      const world = await cutOff();
      const running = await world.start('ab', forced);
      await write(running, 5, 9);
      await running.close();
      world.gone.clear();
      const settled = await world.start('ab', { discard: [given ?? ''], resyncBytesPerSecond: 1 });
      const target = componentOf(settled, given ?? '');
      expect(target.missing.markedBytes).toBe(settled.mirror.mediaSizeBytes);
      await settled.close();
      const end = await world.start('ab');
      await untilComplete(end);
      await end.close();
      const lengthBytes = end.mirror.mediaSizeBytes;
      expect(world.data('a', lengthBytes).equals(world.data('b', lengthBytes))).toBe(true);
      expect(world.data('a')[regionAt(5)]).toBe(kept === 'b' ? 9 : 0);
    }
  });

  test('gives up no third one either, which has older data that is whole', async () => {
    const world = await new MemberWorld('abc').create('abc');
    without(world, 'b', 'c');
    const alone = await world.start('abc', { degraded: true });
    await write(alone, 1, 1);
    await alone.close();
    without(world, 'c');
    await (await world.start('abc', { degraded: true, resyncBytesPerSecond: 1 })).close();
    without(world, 'a', 'c');
    const running = await world.start('abc', forced);
    world.gone.clear();
    expect(await comeBack(running, 'c')).toBe('split brain');
    expect(await comeBack(running, 'a')).toBe('split brain');
    await running.close();
  });
});
