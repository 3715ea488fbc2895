import { describe, expect, test } from 'vitest';
import type { GmirrorLabel } from '../../src/protocol/gmirror-label.js';
import { encodeLabel } from '../../src/protocol/gmirror-label.js';
import { writeBytes } from '../support/device-requests.js';
import { comeBack, componentOf, DISK_BYTES, MemberWorld, untilComplete } from '../support/member-world.js';

/**
 * The kernel's gmirror ran the images of a mirror of ours while that was stopped. It knows nothing of the private area,
 * so the label has to tell: what it writes is in gmirror's metadata description, sections 5 to 8.
 */

const AT = 65_536;
const FAR = 524_288;

type Ids = Pick<GmirrorLabel, 'genid' | 'syncid'>;
type Flags = Partial<GmirrorLabel['diskFlags']>;

/** What the kernel leaves on a disk. */
function leave(world: MemberWorld, name: string, raised: Partial<Ids>, flags: Flags = {}): void {
  const medium = world.data(name, DISK_BYTES);
  const label = world.labelOnMedium(name);
  const { genid = 0, syncid = 0 } = raised;
  const next = {
    ...label,
    genid: label.genid + genid,
    syncid: label.syncid + syncid,
    diskFlags: { ...label.diskFlags, ...flags },
  };
  encodeLabel(next).copy(medium, DISK_BYTES - 512);
}

/** The kernel's write. */
const put = (world: MemberWorld, name: string, value: number, at = FAR): void =>
  void world.data(name, DISK_BYTES).fill(value, at, at + 4096);

/** A stopped mirror of both, each with this at AT. */
async function stopped(): Promise<MemberWorld> {
  const world = await new MemberWorld('ab').create('ab');
  const running = await world.start('ab');
  await writeBytes(running.mirror, AT, Buffer.alloc(4096, 1));
  await running.close();
  return world;
}

/** What both hold at FAR after our next start, and whether all is the same; or that it was refused with all as it was. */
async function outcomeOf(world: MemberWorld): Promise<string> {
  const before = Array.from('ab', (name) => Buffer.from(world.data(name, DISK_BYTES)));
  // As after a reboot: nothing of it is in a cache.
  world.plugIn();
  let running;
  try {
    running = await world.start('ab');
  } catch (error) {
    const isUntouched = Array.from('ab').every((name, index) =>
      world.data(name, DISK_BYTES).equals(before[index] ?? Buffer.alloc(0)),
    );
    const what =
      error instanceof Error && error.message.startsWith('split brain') ? 'split brain' : String(error);
    return `${what}, ${isUntouched ? 'nothing changed' : 'CHANGED'}`;
  }
  await untilComplete(running);
  await running.close();
  const isSame = world.data('a').equals(world.data('b'));
  return `${world.data('a')[FAR] ?? -1}${isSame ? ' on both' : ' AND DIFFERENT'}`;
}

describe('when the kernel ran', () => {
  test.each<[string, (world: MemberWorld) => void, string]>([
    [
      'both and was stopped in order, both are as it left them',
      (world) => Array.from('ab').forEach((name) => put(world, name, 7)),
      '7 on both',
    ],
    [
      'both and crashed, they are made the same',
      (world) => {
        for (const name of 'ab') leave(world, name, {}, { dirty: true });
        for (const name of 'ab') put(world, name, 7);
        put(world, 'b', 9, AT);
      },
      '7 on both',
    ],
    ...Array.from('ab').flatMap((one): [string, (world: MemberWorld) => void, string][] => {
      const other = one === 'a' ? 'b' : 'a';
      return [
        [
          `${one} alone, everything of it is copied`,
          (world) => {
            leave(world, one, { syncid: 1 });
            put(world, one, 7);
          },
          '7 on both',
        ],
        [
          `${one} alone and crashed, everything of it is copied`,
          (world) => {
            leave(world, one, { syncid: 1 }, { dirty: true });
            put(world, one, 7);
          },
          '7 on both',
        ],
        [
          `both, and ${other} failed, everything of ${one} is copied`,
          (world) => {
            leave(world, one, { genid: 1 });
            leave(world, other, {}, { dirty: true });
            put(world, one, 7);
          },
          '7 on both',
        ],
        [
          `${one} alone, then copied it to ${other} to its end, both are as it left them`,
          (world) => {
            for (const name of 'ab') leave(world, name, { syncid: 1 });
            for (const name of 'ab') put(world, name, 7);
          },
          'split brain, nothing changed',
        ],
        [
          `${one} alone, then did not come to the end of copying it to ${other}, all of ${one} is copied`,
          (world) => {
            leave(world, one, { syncid: 1 }, { dirty: true });
            leave(world, other, { syncid: 1 }, { synchronizing: true, dirty: true });
            put(world, one, 7);
          },
          '7 on both',
        ],
        [
          `both and crashed, and then did not come to the end of copying ${one} to ${other}, all of ${one} is copied`,
          (world) => {
            leave(world, one, {}, { dirty: true });
            leave(world, other, {}, { synchronizing: true, dirty: true });
            put(world, one, 7);
          },
          '7 on both',
        ],
      ];
    }),
    [
      'each of them alone, a person chooses',
      (world) => {
        for (const name of 'ab') leave(world, name, { syncid: 1 });
        put(world, 'a', 7);
        put(world, 'b', 8);
      },
      'split brain, nothing changed',
    ],
  ])('%s', async (_what, kernelDid, outcome) => {
    const world = await stopped();
    kernelDid(world);
    expect(await outcomeOf(world)).toBe(outcome);
  });
});

describe('when we ran a alone, and then the kernel', () => {
  async function aloneThen(kernelDid: (world: MemberWorld) => void): Promise<string> {
    const world = await stopped();
    world.gone.add('b');
    const running = await world.start('ab', { degraded: true });
    await writeBytes(running.mirror, FAR, Buffer.alloc(4096, 5));
    await running.close();
    world.gone.clear();
    kernelDid(world);
    return await outcomeOf(world);
  }

  test('b alone, a person chooses', async () => {
    const outcome = await aloneThen((world) => {
      leave(world, 'b', { syncid: 1 });
      put(world, 'b', 7);
    });
    expect(outcome).toBe('split brain, nothing changed');
  });

  test('copied a to b to its end, both are as it left them', async () => {
    const outcome = await aloneThen((world) => {
      // It takes over a's numbers.
      leave(world, 'b', { syncid: 1 });
      for (const name of 'ab') put(world, name, 7);
      world.data('a').copy(world.data('b'));
    });
    expect(['7 on both', 'split brain, nothing changed']).toContain(outcome);
  });

  test('did not come to the end of copying a to b: what is there of b is never copied to a', async () => {
    const outcome = await aloneThen((world) => {
      leave(world, 'b', { syncid: 1 }, { synchronizing: true, dirty: true });
      leave(world, 'a', {}, { dirty: true });
      put(world, 'a', 7);
    });
    expect(outcome).toBe('7 on both');
  });
});

test.each(['ab', 'ba'])(
  'when we crashed, and the kernel did not come to the end of copying one to the other (%s), that one is the source',
  async ([one = '', other = '']) => {
    const world = await new MemberWorld('ab').create('ab');
    const running = await world.start('ab');
    await writeBytes(running.mirror, AT, Buffer.alloc(4096, 1));
    await running.mirror.flushAll();
    world.crash(1);
    expect(world.labelOnMedium(other).diskFlags.dirty).toBe(true);
    leave(world, other, {}, { synchronizing: true });
    put(world, one, 7, AT);
    put(world, one, 7);
    world.plugIn();
    const again = await world.start('ab');
    await untilComplete(again);
    await again.close();
    expect(world.data(one)[AT]).toBe(7);
    expect(world.data(one)[FAR]).toBe(7);
    expect(world.data(other).equals(world.data(one))).toBe(true);
  },
);

test('a component that the kernel ran while we do is left alone, and so is ours', async () => {
  const world = await stopped();
  const running = await world.start('ab');
  running.mirror.drop(componentOf(running, 'b'), new Error('gone') as never);
  await writeBytes(running.mirror, AT, Buffer.alloc(4096, 2));
  await running.mirror.flushAll();
  put(world, 'b', 9);
  leave(world, 'b', {}, { dirty: true });
  world.plugIn('b');
  expect(await comeBack(running, 'b')).toBe('split brain');
  await running.close();
  expect([world.data('b')[FAR], world.data('a')[FAR], world.data('a')[AT]]).toEqual([9, 0, 2]);
});
