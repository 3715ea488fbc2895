import { describe, expect, test } from 'vitest';
import type { RandomSource } from '../../src/device/random.js';
import type { AssembledMirror, StartPlan } from '../../src/mirror/start/assembled.js';
import { readLabelSector, writeLabelSector } from '../../src/mirror/area/component-store.js';
import { SPLIT_BRAIN_POLICIES } from '../../src/mirror/decide/split-brain-policy.js';
import { REGION_SIZE_BYTES } from '../../src/protocol/geometry.js';
import { decodeLabel } from '../../src/protocol/gmirror-label.js';
import { FakeClock } from '../support/fake-clock.js';
import { writeBytes } from '../support/device-requests.js';
import { lost } from '../support/mirror-rig.js';
import {
  comeBack,
  componentOf,
  DISK_BYTES,
  MemberWorld,
  statesOf,
  untilComplete,
} from '../support/member-world.js';

/** Regions that only one side writes, and one that both do. */
const ONLY_A = 1;
const ONLY_B = 3;
const BOTH = 5;
const AT_START = 7;
const A_BYTE = 0xaa;
const B_BYTE = 0xbb;
const MORE_OF_A = 9;
const LOST = lost('b');

/** Of another host, so it never draws what the others draw. */
function otherChance(): RandomSource {
  let next = 0x70;
  return { nextU32: () => next++, nextBytes: (lengthBytes) => Buffer.alloc(lengthBytes, next++) };
}

const offsetOf = (region: number): number => region * REGION_SIZE_BYTES;
const fill = (running: AssembledMirror, region: number, value: number): Promise<void> =>
  writeBytes(running.mirror, offsetOf(region), Buffer.alloc(4096, value));
const at = (world: MemberWorld, name: string, region: number): number | undefined =>
  world.data(name)[offsetOf(region)];

/** Nothing stays zero, since zeroes are copied without being written. */
async function begin(first: AssembledMirror): Promise<void> {
  for (const region of [AT_START, ONLY_A, ONLY_B, BOTH]) await fill(first, region, 1);
  await first.close();
}

/** Both were in step, then each was written alone; in this order, each from a clean start to a clean end. */
async function splitWorld(aRegions = [ONLY_A, BOTH], bRegions = [ONLY_B, BOTH]): Promise<MemberWorld> {
  const world = await new MemberWorld('ab').create('ab');
  const first = await world.start('ab');
  await begin(first);
  for (const [missing, regions, value] of [
    ['b', aRegions, A_BYTE],
    ['a', bRegions, B_BYTE],
  ] as const) {
    world.gone.add(missing);
    const alone = await world.start('ab', { degraded: true });
    for (const region of regions) await fill(alone, region, value);
    await alone.close();
    world.gone.clear();
  }
  return world;
}

/** As splitWorld(), but `a` runs, and has seen `b` go. */
async function runningSplit(
  options: Parameters<MemberWorld['start']>[1] = {},
): Promise<{ world: MemberWorld; running: AssembledMirror }> {
  const world = await new MemberWorld('ab').create('ab');
  await begin(await world.start('ab'));
  world.gone.add('a');
  const alone = await world.start('ab', { degraded: true });
  for (const region of [ONLY_B, BOTH]) await fill(alone, region, B_BYTE);
  await alone.close();
  world.gone.clear();
  world.gone.add('b');
  const running = await world.start('ab', { degraded: true, ...options });
  for (const region of [ONLY_A, BOTH]) await fill(running, region, A_BYTE);
  world.gone.clear();
  return { world, running };
}

/** `a` runs, and has written nothing since `b` went on without it. */
async function newerRunning(
  options: Parameters<MemberWorld['start']>[1] = {},
): Promise<{ world: MemberWorld; running: AssembledMirror }> {
  const world = await splitWorld([], [ONLY_B, BOTH]);
  world.gone.add('b');
  const running = await world.start('ab', { degraded: true, ...options });
  world.gone.clear();
  return { world, running };
}

/** As the kernel's gmirror leaves it when it ran it alone. */
async function touchLabel(world: MemberWorld, name: string): Promise<void> {
  const device = world.device(name);
  const label = decodeLabel(await readLabelSector(device));
  await writeLabelSector(device, { ...label, syncid: label.syncid + 1 });
}

function expectAWon(world: MemberWorld): void {
  expect(world.data('b').equals(world.data('a'))).toBe(true);
  for (const name of ['a', 'b']) {
    expect([ONLY_A, ONLY_B, BOTH, AT_START].map((region) => at(world, name, region))).toEqual([
      A_BYTE,
      1,
      A_BYTE,
      1,
    ]);
  }
}

describe('a split brain at a start', () => {
  test('is settled by giving one side up, and only what either side wrote is copied', async () => {
    const world = await splitWorld();
    let plan: StartPlan | null = null;
    const running = await world.start('ab', { discard: ['b'], approve: (one) => void (plan = one) });
    await untilComplete(running);
    expect(plan).toEqual({
      doubt: null,
      kept: ['a'],
      overwritten: [{ name: 'b', copyBytes: 3 * REGION_SIZE_BYTES }],
    });
    expect(componentOf(running, 'b').counters.bytesWritten).toBe(3 * REGION_SIZE_BYTES);
    expect(world.events).toContain('b discarded');
    await running.close();
    expectAWon(world);
    expect(statesOf(await world.start('ab'))).toBe('a ACTIVE, b ACTIVE');
  });

  test('keeps either side, whichever is not given up', async () => {
    const world = await splitWorld();
    const running = await world.start('ab', { discard: ['a'] });
    await untilComplete(running);
    await running.close();
    expect(world.data('a').equals(world.data('b'))).toBe(true);
    expect([ONLY_A, ONLY_B, BOTH].map((region) => at(world, 'a', region))).toEqual([1, B_BYTE, B_BYTE]);
  });

  test('that is not approved after all leaves both sides as they are', async () => {
    const world = await splitWorld();
    const before = ['a', 'b'].map((name) => Buffer.from(world.data(name, DISK_BYTES)));
    const approve = (): never => {
      throw new Error('not like that');
    };
    const clock = new FakeClock();
    await expect(world.start('ab', { discard: ['b'], approve, clock })).rejects.toThrow('not like that');
    expect(clock.timerCount).toBe(0);
    expect(
      ['a', 'b'].map((name, index) => world.data(name, DISK_BYTES).equals(before[index] ?? Buffer.alloc(0))),
    ).toEqual([true, true]);
    await expect(world.start('ab')).rejects.toMatchObject({ code: 'ASSEMBLE_SPLIT_BRAIN' });
  });

  test('is settled for good before anything is copied: a crash then does not bring it back', async () => {
    const world = await splitWorld();
    await world.start('ab', { discard: ['b'], resyncBytesPerSecond: 1 });
    world.crash(1);
    const again = await world.start('ab');
    await untilComplete(again);
    expect(componentOf(again, 'b').counters.bytesWritten).toBeLessThanOrEqual(3 * REGION_SIZE_BYTES);
    await again.close();
    expectAWon(world);
  });

  test('nobody is given up where there is none', async () => {
    const world = await new MemberWorld('ab').create('ab');
    await expect(world.start('ab', { discard: ['b'] })).rejects.toMatchObject({
      code: 'ASSEMBLE_NO_SPLIT_BRAIN',
    });
    await expect(world.start('ab', { discard: ['c'] })).rejects.toThrow('c is not there');
  });

  test.each([
    ['disconnect', [ONLY_A], [ONLY_B], null],
    ['discard-least-changes', [ONLY_A, BOTH], [ONLY_B], 'b'],
    ['discard-least-changes', [ONLY_A], [ONLY_B, BOTH], 'a'],
    ['discard-least-changes', [ONLY_A], [ONLY_B], null],
    ['discard-zero-changes', [ONLY_A], [ONLY_B], null],
    // Both were started alone, so neither is the younger one.
    ['discard-younger', [ONLY_A], [ONLY_B], null],
    ['discard-older', [ONLY_A], [ONLY_B], null],
  ] as const)('under %s, with %o and %o written, gives up %s', async (afterSplitBrain, ofA, ofB, loser) => {
    const world = await splitWorld([...ofA], [...ofB]);
    const starting = world.start('ab', { afterSplitBrain });
    if (loser === null) {
      await expect(starting).rejects.toMatchObject({ code: 'ASSEMBLE_SPLIT_BRAIN' });
      return;
    }
    const running = await starting;
    expect(world.events).toContain(`${loser} discarded`);
    await untilComplete(running);
    const winner = loser === 'a' ? 'b' : 'a';
    expect(at(world, loser, winner === 'a' ? ONLY_A : ONLY_B)).toBe(winner === 'a' ? A_BYTE : B_BYTE);
    await running.close();
  });

  test.each([
    ['discard-younger', 'b'],
    ['discard-older', 'a'],
  ] as const)('under %s, when b was started alone while a went on, gives up %s', async (policy, loser) => {
    const world = await new MemberWorld('ab').create('ab');
    const primary = await world.start('ab');
    const before = world.copy();
    primary.mirror.drop(componentOf(primary, 'b'), LOST);
    await fill(primary, ONLY_A, A_BYTE);
    await primary.close();
    // The backup's host has its own, and starts it alone.
    before.gone.add('a');
    const backup = await before.start('ab', { degraded: true, random: otherChance() });
    await fill(backup, ONLY_B, B_BYTE);
    await backup.close();
    world.exchange('b', before);
    const running = await world.start('ab', { afterSplitBrain: policy });
    expect(world.events).toContain(`${loser} discarded`);
    await untilComplete(running);
    await running.close();
  });

  test.each(SPLIT_BRAIN_POLICIES)(
    'under %s is left to a person where no bitmap tells what differs',
    async (policy) => {
      const world = await splitWorld();
      // As the kernel's gmirror leaves them when it ran each alone.
      for (const name of ['a', 'b']) await touchLabel(world, name);
      await expect(world.start('ab', { afterSplitBrain: policy })).rejects.toMatchObject({
        code: 'ASSEMBLE_SPLIT_BRAIN',
      });
    },
  );
});

describe('a component that comes to a running mirror and was written without it', () => {
  test('is left alone, with what settling would cost, until it is given up', async () => {
    const { world, running } = await runningSplit();
    expect(await comeBack(running, 'b')).toBe('split brain');
    const b = componentOf(running, 'b');
    expect(b.refused).toEqual({ outcome: 'split brain', copyBytes: 3 * REGION_SIZE_BYTES });
    expect(at(world, 'b', ONLY_B)).toBe(B_BYTE);
    b.isDiscarded = true;
    const generation = running.mirror.journal.state.current;
    expect(await comeBack(running, 'b')).toBe('SYNCHRONIZING');
    expect(running.mirror.journal.state.current).not.toBe(generation);
    await untilComplete(running);
    expect(b.refused).toBeNull();
    expect(b.isDiscarded).toBe(false);
    expect(world.events).toContain('b discarded');
    expect(b.counters.bytesWritten).toBe(3 * REGION_SIZE_BYTES);
    await running.close();
    expect(world.data('b').equals(world.data('a'))).toBe(true);
    expect([ONLY_A, ONLY_B, BOTH].map((region) => at(world, 'b', region))).toEqual([A_BYTE, 1, A_BYTE]);
  });

  test('goes on being copied to by marks after a crash in the middle', async () => {
    const { world, running } = await runningSplit({ resyncBytesPerSecond: 1 });
    componentOf(running, 'b').isDiscarded = true;
    expect(await comeBack(running, 'b')).toBe('SYNCHRONIZING');
    world.crash(3);
    const again = await world.start('ab');
    await untilComplete(again);
    await again.close();
    expect(world.data('b').equals(world.data('a'))).toBe(true);
    expect(at(world, 'b', ONLY_B)).toBe(1);
  });

  test('that is lost before it was accepted has to be given up anew', async () => {
    const { running } = await runningSplit({ isAutosync: false });
    const b = componentOf(running, 'b');
    b.isDiscarded = true;
    expect(await comeBack(running, 'b')).toBe('STALE');
    running.mirror.drop(b, LOST);
    await b.closing;
    expect(await comeBack(running, 'b')).toBe('split brain');
    await running.close();
  });

  test('when the mirror itself wrote nothing is called newer, and may be given up too', async () => {
    const { world, running } = await newerRunning();
    expect(await comeBack(running, 'b')).toBe('newer');
    const b = componentOf(running, 'b');
    expect(b.refused).toEqual({ outcome: 'newer', copyBytes: 2 * REGION_SIZE_BYTES });
    b.isDiscarded = true;
    expect(await comeBack(running, 'b')).toBe('SYNCHRONIZING');
    await untilComplete(running);
    expect(b.counters.bytesWritten).toBe(2 * REGION_SIZE_BYTES);
    await running.close();
    expect([ONLY_B, BOTH].map((region) => at(world, 'b', region))).toEqual([1, 1]);
    expect(statesOf(await world.start('ab'))).toBe('a ACTIVE, b ACTIVE');
  });

  test('when it is newer, was given up, and the copy is cut off by a crash, is copied by marks', async () => {
    const { world, running } = await newerRunning({ resyncBytesPerSecond: 1 });
    componentOf(running, 'b').isDiscarded = true;
    expect(await comeBack(running, 'b')).toBe('SYNCHRONIZING');
    world.crash(5);
    const again = await world.start('ab');
    await untilComplete(again);
    expect(componentOf(again, 'b').counters.bytesWritten).toBeLessThanOrEqual(2 * REGION_SIZE_BYTES);
    await again.close();
    expect(at(world, 'b', ONLY_B)).toBe(1);
  });

  test.each([
    ['disconnect', 'split brain'],
    ['discard-zero-changes', 'split brain'],
    ['discard-least-changes', 'split brain'],
    ['discard-younger', 'split brain'],
    ['discard-older', 'split brain'],
  ] as const)('under %s, with as much on both sides: %s', async (afterSplitBrain, outcome) => {
    const { running } = await runningSplit({ afterSplitBrain });
    expect(await comeBack(running, 'b')).toBe(outcome);
    await running.close();
  });

  test('under discard-least-changes is taken in when it has less to lose, and the mirror never gives itself up', async () => {
    const less = await runningSplit({ afterSplitBrain: 'discard-least-changes' });
    await fill(less.running, MORE_OF_A, A_BYTE);
    expect(await comeBack(less.running, 'b')).toBe('SYNCHRONIZING');
    expect(less.world.events).toContain('b discarded');
    await untilComplete(less.running);
    await less.running.close();
    expect(less.world.data('b').equals(less.world.data('a'))).toBe(true);
  });
});
