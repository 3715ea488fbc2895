import { describe, expect, test } from 'vitest';
import { AssembleError, type AssembledMirror } from '../../src/mirror/start/assemble.js';
import { MembershipError } from '../../src/mirror/members/membership-error.js';
import type { OpenedProvider } from '../../src/mirror/area/provider.js';
import { readBytes, writeBytes } from '../support/device-requests.js';
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

const block = (value: number): Buffer => Buffer.alloc(4096, value);

/** What the mirror says at an offset. */
const at = (running: AssembledMirror, offsetBytes: number): Promise<Buffer> =>
  readBytes(running.mirror, { offsetBytes, lengthBytes: 4096 });

const lostBy = (running: AssembledMirror, name: string): number =>
  componentOf(running, name).missing.countMarked;

describe('insert', () => {
  test('makes a provider a component that everything is copied to', async () => {
    const world = await new MemberWorld('abc').create('ab');
    const running = await world.start('ab');
    await writeBytes(running.mirror, 8192, block(7));
    world.device('c').start({
      op: 'write',
      offsetBytes: 0,
      lengthBytes: 4096,
      buffer: block(9),
      bufferAt: 0,
      done: () => undefined,
    });
    await running.members.insert(world.opener('c'), { ...INSERTED, priority: 3 });
    expect(componentOf(running, 'c').state).toBe('SYNCHRONIZING');
    await untilComplete(running);
    await running.close();
    expect(world.data('c').equals(world.data('a'))).toBe(true);
    expect(world.data('c').subarray(8192, 12_288).equals(block(7))).toBe(true);
    for (const name of 'abc') expect(await world.label(name)).toMatchObject({ all: 3, syncid: 1 });
    expect((await world.label('c'))?.priority).toBe(3);
    expect(statesOf(await world.start('abc'))).toBe('a ACTIVE, b ACTIVE, c ACTIVE');
  });

  test('needs a provider that fits, that is none yet, and that nobody objects to', async () => {
    const world = await new MemberWorld('abcd', { c: 1_048_576 }).create('ab');
    const running = await world.start('ab');
    const insert = (name: string, options = {}): Promise<void> =>
      running.members.insert(world.opener(name), { ...INSERTED, ...options });
    await expect(insert('b')).rejects.toThrow('Provider b already inserted.');
    const alias = { ...world.opener('b'), name: 'other name of b' };
    await expect(running.members.insert(alias, INSERTED)).rejects.toThrow(
      'other name of b already inserted.',
    );
    await expect(insert('c')).rejects.toThrow('Provider c too small.');
    const objection = (): Promise<string> => Promise.resolve('d holds data');
    await expect(insert('d', { objection })).rejects.toThrow(new MembershipError('d holds data'));
    expect(statesOf(running)).toBe('a ACTIVE, b ACTIVE');
    expect(await world.label('d')).toBeNull();
    running.mirror.drop(componentOf(running, 'b'), new Error('gone') as never);
    await expect(insert('d')).rejects.toThrow('Not all disks connected.');
    await running.close();
  });

  test('of one that is lost with a request that hangs in the disk: it is not opened again before that is over', async () => {
    const world = await new MemberWorld('ab').create('a');
    const running = await world.start('a');
    let letClose: () => void = () => undefined;
    const hangs = new Promise<void>((resolve) => (letClose = resolve));
    let opens = 0;
    const open = async (): Promise<OpenedProvider> => {
      const opened = await world.opener('b').open();
      opens += 1;
      if (opens === 2) opened.device.close = () => hangs;
      return opened;
    };
    await running.members.insert({ ...world.opener('b'), open }, INSERTED);
    await untilComplete(running);
    running.mirror.drop(componentOf(running, 'b'), new Error('gone') as never);
    await expect(comeBack(running, 'b')).rejects.toThrow('still has a request under way');
    letClose();
    await hangs;
    await until('b to come back', () => comeBack(running, 'b').then(Boolean, () => false));
    await untilComplete(running);
    expect(opens).toBe(3);
    await running.close();
  });

  test('with a place for it only among eight', async () => {
    const world = await new MemberWorld('abcdefghi').create('abcdefgh');
    const running = await world.start('abcdefgh');
    await expect(running.members.insert(world.opener('i'), INSERTED)).rejects.toThrow('at most 8');
    await running.close();
  });

  test('of an inactive one copies nothing until it is activated', async () => {
    const world = await new MemberWorld('ab').create('a');
    const running = await world.start('a');
    await writeBytes(running.mirror, 0, block(5));
    await running.members.insert(world.opener('b'), { ...INSERTED, isInactive: true });
    expect(statesOf(running)).toBe('a ACTIVE, b DISCONNECTED');
    expect((await world.label('b'))?.diskFlags.inactive).toBe(true);
    await running.members.activate(componentOf(running, 'b'));
    expect(await comeBack(running, 'b')).toBe('SYNCHRONIZING');
    await untilComplete(running);
    await running.close();
    expect(world.data('b').equals(world.data('a'))).toBe(true);
    expect((await world.label('b'))?.diskFlags.inactive).toBe(false);
  });

  test('that is interrupted goes on where it was, and its target is no source', async () => {
    const world = await new MemberWorld('ab').create('a');
    const running = await world.start('a', { isAutosync: false });
    await writeBytes(running.mirror, 0, block(5));
    await running.members.insert(world.opener('b'), INSERTED);
    expect(statesOf(running)).toBe('a ACTIVE, b STALE');
    await running.close();
    await expect(world.start('b', { degraded: true })).rejects.toThrow('mixture of old and new');
    const again = await world.start('ab');
    await untilComplete(again);
    await again.close();
    expect(world.data('b').equals(world.data('a'))).toBe(true);
  });
});

describe('remove', () => {
  test('takes a component out for good, with its label and private area', async () => {
    const world = await new MemberWorld('abc').create('abc');
    const running = await world.start('abc');
    const { mediaSizeBytes } = running.mirror;
    await writeBytes(running.mirror, 8192, block(7));
    await running.members.remove(componentOf(running, 'b'));
    expect(statesOf(running)).toBe('a ACTIVE, c ACTIVE');
    expect(running.mirror.state).toBe('COMPLETE');
    expect(await at(running, 8192)).toEqual(block(7));
    await writeBytes(running.mirror, 12_288, block(8));
    await running.close();
    expect([await world.label('b'), await world.superblock('b', mediaSizeBytes)]).toEqual([null, null]);
    expect(world.data('b').subarray(8192, 12_288).equals(block(7))).toBe(true);
    for (const name of 'ac') expect(await world.label(name)).toMatchObject({ all: 2, syncid: 2 });
    expect(statesOf(await world.start('ac'))).toBe('a ACTIVE, c ACTIVE');
  });

  test('never takes the last ACTIVE one, nor any while others are missing', async () => {
    const world = await new MemberWorld('ab').create('ab');
    const running = await world.start('ab');
    await running.members.remove(componentOf(running, 'b'));
    await expect(running.members.remove(componentOf(running, 'a'))).rejects.toThrow(
      "m: Can't remove the last ACTIVE component a.",
    );
    await running.members.insert(world.opener('b'), INSERTED);
    await untilComplete(running);
    running.mirror.drop(componentOf(running, 'b'), new Error('gone') as never);
    await expect(running.members.remove(componentOf(running, 'b'))).rejects.toThrow(
      "Try 'forget' command first.",
    );
    await running.close();
  });

  test('leaves alone who was inserted in its place while it waited for its turn', async () => {
    const world = await new MemberWorld('ab').create('ab');
    const running = await world.start('ab');
    const before = componentOf(running, 'b');
    running.mirror.drop(before, new Error('gone') as never);
    const turns = [
      running.members.forget(),
      running.members.insert(world.opener('b'), INSERTED),
      ...[
        running.members.remove(before),
        running.members.deactivate(before),
        running.members.activate(before),
      ],
    ];
    const ends = await Promise.allSettled(turns);
    const refused = {
      status: 'rejected',
      reason: new MembershipError('b was taken out of the mirror meanwhile; nothing was done.'),
    };
    expect(ends.slice(2)).toEqual([refused, refused, refused]);
    await untilComplete(running);
    running.mirror.drop(componentOf(running, 'b'), new Error('gone') as never);
    await until('b to come back', () => comeBack(running, 'b').then(Boolean, () => false));
    await untilComplete(running);
    await running.close();
  });

  test('gives its slot to the next one, whom the removed one is not taken for', async () => {
    const world = await new MemberWorld('abc').create('ab');
    const running = await world.start('ab');
    world.gone.add('b');
    const removing = running.members.remove(componentOf(running, 'b'));
    await expect(removing).rejects.toThrow(
      "b was removed, but its label could not be wiped (b is not there); 'ggmirror clear'",
    );
    await running.members.insert(world.opener('c'), INSERTED);
    await untilComplete(running);
    expect(componentOf(running, 'c').identity.slot).toBe(1);
    await running.close();
    world.gone.clear();
    await expect(world.start('abc')).rejects.toThrow('b is no component any more, says a');
    await expect(world.start('cb', { degraded: true })).rejects.toThrow('b is no component any more, says c');
    expect(statesOf(await world.start('ac'))).toBe('a ACTIVE, c ACTIVE');
  });
});

test('forget makes what is missing no component any more, and it stays out', async () => {
  const world = await new MemberWorld('abc').create('abc');
  world.gone.add('b');
  const running = await world.start('abc', { degraded: true });
  expect(await running.members.forget()).toEqual(['b']);
  expect(await running.members.forget()).toEqual([]);
  expect(statesOf(running)).toBe('a ACTIVE, c ACTIVE');
  await running.close();
  world.gone.clear();
  expect(await world.label('a')).toMatchObject({ all: 2 });
  await expect(world.start('abc')).rejects.toThrow('b is no component any more');
});

describe('deactivate', () => {
  test('leaves a component out, at starts too, and activate copies what was written meanwhile', async () => {
    const world = await new MemberWorld('ab').create('ab');
    const running = await world.start('ab');
    await writeBytes(running.mirror, 0, block(1));
    await running.members.deactivate(componentOf(running, 'b'));
    expect(lostBy(running, 'b')).toBe(0);
    expect((await world.label('b'))?.diskFlags.inactive).toBe(true);
    await running.close();
    const again = await world.start('ab');
    expect(statesOf(again)).toBe('a ACTIVE, b DISCONNECTED');
    expect(await comeBack(again, 'b')).toBe('unwanted');
    await writeBytes(again.mirror, 8192, block(2));
    expect(lostBy(again, 'b')).toBe(1);
    await again.members.activate(componentOf(again, 'b'));
    await comeBack(again, 'b');
    await untilComplete(again);
    expect(componentOf(again, 'b').counters.bytesWritten).toBeLessThanOrEqual(65_536);
    await again.close();
    expect(world.data('b').equals(world.data('a'))).toBe(true);
    expect((await world.label('b'))?.diskFlags.inactive).toBe(false);
  });

  test('and activate without a write between them copy nothing', async () => {
    const world = await new MemberWorld('ab').create('ab');
    const running = await world.start('ab');
    await writeBytes(running.mirror, 0, block(1));
    await running.members.deactivate(componentOf(running, 'b'));
    await running.members.activate(componentOf(running, 'b'));
    const before = componentOf(running, 'b').counters.bytesWritten;
    await comeBack(running, 'b');
    await untilComplete(running);
    expect(componentOf(running, 'b').counters.bytesWritten).toBe(before);
    await running.close();
  });

  test('that fails since the others do leaves them no right to start without the one that went on', async () => {
    const world = await new MemberWorld('ab').create('ab');
    const running = await world.start('ab');
    // It gets to know that b is out of use, and fails before it is.
    world.plans.set('a', ({ op, offsetBytes }) =>
      op === 'write' && offsetBytes >= DISK_BYTES - 4096 ? { kind: 'fail', errno: 'EIO' } : null,
    );
    await expect(running.members.deactivate(componentOf(running, 'b'))).rejects.toThrow(
      "m: Can't deactivate the last ACTIVE component b.",
    );
    await writeBytes(running.mirror, 0, block(1));
    await running.close();
    world.plans.clear();
    world.gone.add('b');
    await expect(world.start('ab')).rejects.toThrow('1 of 2 components is missing, and may have newer data');
    world.gone.clear();
    const again = await world.start('ab');
    await untilComplete(again);
    expect(await at(again, 0)).toEqual(block(1));
    await again.close();
  });

  test('never takes the last ACTIVE one', async () => {
    const world = await new MemberWorld('ab').create('ab');
    const running = await world.start('ab');
    await running.members.deactivate(componentOf(running, 'b'));
    await expect(running.members.deactivate(componentOf(running, 'a'))).rejects.toThrow(
      "m: Can't deactivate the last ACTIVE component a.",
    );
    await running.close();
    await expect(world.start('b', { degraded: true })).rejects.toThrow('is deactivated');
  });
});

test('destroy wipes labels and private areas of a mirror that has ended, and says what it could not reach', async () => {
  const world = await new MemberWorld('abc').create('abc');
  const running = await world.start('abc');
  const { mediaSizeBytes } = running.mirror;
  await writeBytes(running.mirror, 0, block(1));
  await running.close();
  world.gone.add('c');
  expect(await running.members.eraseAll()).toEqual([{ name: 'c', why: 'c is not there' }]);
  for (const name of 'ab') {
    expect([await world.label(name), await world.superblock(name, mediaSizeBytes)]).toEqual([null, null]);
    expect(world.data(name).subarray(0, 4096).equals(block(1))).toBe(true);
  }
});

describe('settings of labels', () => {
  test('NOAUTOSYNC: who comes back waits for a person', async () => {
    const world = await new MemberWorld('ab').create('ab', { noAutoSync: true });
    const running = await world.start('ab');
    running.mirror.drop(componentOf(running, 'b'), new Error('gone') as never);
    await writeBytes(running.mirror, 0, block(1));
    expect(await comeBack(running, 'b')).toBe('STALE');
    await running.close();
  });

  test('NOFAILSYNC: no label is DIRTY, and after a crash nothing is copied', async () => {
    const world = await new MemberWorld('ab').create('ab', { noFailSync: true });
    const running = await world.start('ab');
    await writeBytes(running.mirror, 0, block(1));
    expect((await world.label('a'))?.diskFlags.dirty).toBe(false);
    world.crash(1);
    expect(statesOf(await world.start('ab'))).toBe('a ACTIVE, b ACTIVE');
  });
});

/** What a start with these says: the states that it comes to, or why it is refused. */
async function startOf(world: MemberWorld, names: string, degraded = false): Promise<string> {
  const copy = world.copy();
  let running: AssembledMirror;
  try {
    running = await copy.start(names, { degraded });
  } catch (error) {
    if (error instanceof AssembleError) return error.code;
    throw error;
  }
  const used = running.mirror.components.filter(({ isInactive }) => !isInactive);
  // Of a degraded start only those that are there.
  const expected = degraded ? used.filter(({ isConnected }) => isConnected) : used;
  await until('the resyncs', () => expected.every(({ state }) => state === 'ACTIVE'));
  const found = await at(running, 8192);
  const states = statesOf(running);
  await running.close();
  if (!found.equals(block(7))) return 'LOST DATA';
  const active = running.mirror.components.filter((one) => states.includes(`${one.name} ACTIVE`));
  const isEqual = active.every(({ name }) => copy.data(name).subarray(8192, 12_288).equals(block(7)));
  return isEqual ? states : 'DIFFERENT DATA';
}

/** Runs `change` on a mirror of `members` and loses power at every request of it in turn. */
async function crashEverywhere(
  members: string,
  change: (running: AssembledMirror, world: MemberWorld) => Promise<void>,
  check: (world: MemberWorld) => Promise<string>,
): Promise<Set<string>> {
  const found = new Set<string>();
  for (let requests = 1; ; requests++) {
    const world = await new MemberWorld('abc').create(members);
    const running = await world.start(members);
    await writeBytes(running.mirror, 8192, block(7));
    await running.mirror.log.empty();
    world.cutPowerAfter(requests);
    await change(running, world).catch(() => undefined);
    const isOver = !world.isPowerCut;
    for (const seed of [requests, requests + 1000]) {
      const crashed = world.copyAfterCrash(seed);
      found.add(await check(crashed));
    }
    if (isOver) return found;
  }
}

describe('power lost at any request of', () => {
  test('insert leaves the old or the new members', async () => {
    const found = await crashEverywhere(
      'ab',
      async (running, world) => {
        await running.members.insert(world.opener('c'), INSERTED);
        await until('the end', () => world.isPowerCut || running.mirror.state === 'COMPLETE');
      },
      async (world) => {
        const alone = await startOf(world, 'c', true);
        const isTrusted = alone.includes('c ACTIVE') || alone.endsWith('DATA');
        const [two, three] = [await startOf(world, 'ab'), await startOf(world, 'abc')];
        return `${two}; ${three}; ${isTrusted ? alone : 'c alone is refused'}`;
      },
    );
    const old = 'a ACTIVE, b ACTIVE; ASSEMBLE_FOREIGN; c alone is refused';
    const inserted = 'ASSEMBLE_MISSING; a ACTIVE, b ACTIVE, c ACTIVE';
    expect([...found].sort()).toEqual([
      `${inserted}; c alone is refused`,
      `${inserted}; component 0 DISCONNECTED, component 1 DISCONNECTED, c ACTIVE`,
      old,
    ]);
  });

  test('remove leaves the old or the new members', async () => {
    const found = await crashEverywhere(
      'abc',
      (running) => running.members.remove(componentOf(running, 'c')),
      async (world) => `${await startOf(world, 'ab')}; ${await startOf(world, 'abc')}`,
    );
    expect([...found].sort()).toEqual([
      'ASSEMBLE_MISSING; a ACTIVE, b ACTIVE, c ACTIVE',
      'a ACTIVE, b ACTIVE; ASSEMBLE_FOREIGN',
    ]);
  });

  test('deactivate leaves the component in use or not', async () => {
    const found = await crashEverywhere(
      'abc',
      (running) => running.members.deactivate(componentOf(running, 'c')),
      (world) => startOf(world, 'abc'),
    );
    expect([...found].sort()).toEqual(['a ACTIVE, b ACTIVE, c ACTIVE', 'a ACTIVE, b ACTIVE, c DISCONNECTED']);
  });
});
