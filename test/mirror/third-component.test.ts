import { describe, expect, test } from 'vitest';
import type { AssembledMirror } from '../../src/mirror/start/assembled.js';
import { EXTENT_SIZE_BYTES } from '../../src/protocol/area-layout.js';
import { REGION_SIZE_BYTES } from '../../src/protocol/geometry.js';
import { writeBytes } from '../support/device-requests.js';
import { comeBack, componentOf, MemberWorld, statesOf, untilComplete } from '../support/member-world.js';
import { lost } from '../support/mirror-rig.js';
import { until } from '../support/until.js';

const MIB = 1_048_576;
/** Two extents, and a last one that is cut off. */
const DISK_BYTES = 10 * MIB;
const regionAt = (region: number): number => region * REGION_SIZE_BYTES;

async function makeWorld(): Promise<MemberWorld> {
  return await new MemberWorld('abc', { a: DISK_BYTES, b: DISK_BYTES, c: DISK_BYTES }).create('abc');
}

const write = (running: AssembledMirror, region: number, value: number): Promise<void> =>
  writeBytes(running.mirror, regionAt(region), Buffer.alloc(4096, value));

/** How much the resync of a component has to go over, as it began. */
const amountFor = (running: AssembledMirror, name: string): number =>
  running.mirror.resyncOf(componentOf(running, name))?.totalBytes ?? 0;

async function lose(running: AssembledMirror, name: string): Promise<void> {
  const component = componentOf(running, name);
  running.mirror.drop(component, lost(name));
  await component.closing;
  await running.mirror.lossesRecorded();
}

const untilActive = (running: AssembledMirror, name: string): Promise<unknown> =>
  until(`${name} to be in step`, () => componentOf(running, name).state === 'ACTIVE');

/** `c` is copied to by `b`, which goes on without `a`, and the copy is cut off. */
async function strayFrom(world: MemberWorld, running: AssembledMirror): Promise<void> {
  await lose(running, 'a');
  await write(running, 2, 2);
  world.gone.clear();
  expect(await comeBack(running, 'c')).toBe('SYNCHRONIZING');
  // It has that, too.
  await write(running, 70, 3);
  await running.close();
  world.gone.add('b').add('c');
}

const SLOW = { degraded: true, resyncBytesPerSecond: 1 } as const;

function expectEqual(world: MemberWorld, names: string): void {
  const [first, ...others] = Array.from(names).map((name) => world.data(name, 8 * MIB));
  for (const other of others) expect(other.equals(first ?? Buffer.alloc(0))).toBe(true);
}

test.each([
  ['a', 'b', 'c'],
  ['b', 'a', 'c'],
])(
  'what %s has copied to %s since does not count for one that was away meanwhile',
  async (source, target, away) => {
    const world = await makeWorld();
    const running = await world.start('abc');
    await write(running, 3, 1);
    const component = componentOf(running, target);
    component.isFull = true;
    component.missing.markAll();
    await lose(running, target);
    await running.mirror.journal.writeAll();
    world.crash(1);
    world.gone.add(away);
    const again = await world.start(source === 'a' ? 'abc' : 'bac', { degraded: true });
    await untilActive(again, target);
    world.gone.clear();
    expect(await comeBack(again, away)).toBe('SYNCHRONIZING');
    expect(amountFor(again, away)).toBeLessThanOrEqual(EXTENT_SIZE_BYTES);
    await untilComplete(again);
    await again.close();
    expectEqual(world, 'abc');
  },
);

describe('a mixture', () => {
  test.each(['a start', 'its return'])(
    'tells of all that its source had, also when that was given up at %s and those whom it missed are gone',
    async (moment) => {
      const world = await makeWorld();
      const running = await world.start('abc', SLOW);
      await lose(running, 'c');
      await write(running, 1, 1);
      await strayFrom(world, running);
      let other = await world.start('abc', { degraded: true });
      await write(other, 100, 4);
      world.gone.delete('b');
      if (moment === 'a start') {
        await other.close();
        other = await world.start('abc', { degraded: true, discard: ['b'] });
      } else {
        componentOf(other, 'b').isDiscarded = true;
        expect(await comeBack(other, 'b')).toBe('SYNCHRONIZING');
      }
      await untilActive(other, 'b');
      await lose(other, 'a');
      await write(other, 101, 5);
      world.gone.delete('c');
      expect(await comeBack(other, 'c')).toBe('SYNCHRONIZING');
      await untilActive(other, 'c');
      expect(statesOf(other)).toBe('a DISCONNECTED, b ACTIVE, c ACTIVE');
      await other.close();
      expectEqual(world, 'bc');
    },
  );

  test('is not believed to be as it was when it was seen to go', async () => {
    const world = await makeWorld();
    const running = await world.start('abc', SLOW);
    await lose(running, 'c');
    await write(running, 1, 1);
    await strayFrom(world, running);
    const other = await world.start('abc', { degraded: true });
    await write(other, 100, 4);
    world.gone.delete('c');
    expect(await comeBack(other, 'c')).toBe('SYNCHRONIZING');
    await untilActive(other, 'c');
    await other.close();
    expectEqual(world, 'ac');
  });
});
