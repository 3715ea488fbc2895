import { describe, expect, test } from 'vitest';
import { AssembleError, type AssembledMirror } from '../../src/mirror/start/assemble.js';
import { resizeMirror, type Resized } from '../../src/mirror/start/resize.js';
import { ResizeError } from '../../src/mirror/start/resize-error.js';
import { mediaSizeFor } from '../../src/protocol/area-layout.js';
import { readBytes, writeBytes } from '../support/device-requests.js';
import { comeBack, componentOf, DISK_BYTES, MemberWorld, statesOf } from '../support/member-world.js';
import { until } from '../support/until.js';

const ADDED_BYTES = 3 * 1_048_576;
const OLD_BYTES = mediaSizeFor(DISK_BYTES, 512);
const NEW_BYTES = mediaSizeFor(DISK_BYTES + ADDED_BYTES, 512);
const PATTERN = Buffer.alloc(8192, 7);
const LAST_AT = OLD_BYTES - PATTERN.length;

/** A mirror of these with data at its beginning and end, which was stopped. `inFiles`: whose areas are in files. */
async function stopped(names: string, all = names, inFiles = ''): Promise<MemberWorld> {
  const world = await new MemberWorld(all).create(names);
  await world.moveAreasToFiles(inFiles);
  const running = await world.start(names);
  await writeBytes(running.mirror, 0, PATTERN);
  await writeBytes(running.mirror, LAST_AT, PATTERN);
  await running.close();
  return world;
}

/** Each area is another one. */
let draws = 0;

const resize = (world: MemberWorld, names: string, sizeBytes: number | null = null): Promise<Resized> =>
  resizeMirror({
    name: 'm',
    providers: Array.from(names).map((name) => world.opener(name)),
    size: sizeBytes === null ? null : { count: sizeBytes, unit: 'bytes' },
    random: { nextU32: () => 0, nextBytes: (lengthBytes) => Buffer.alloc(lengthBytes, (draws += 1)) },
  });

const read = (running: AssembledMirror, offsetBytes: number, lengthBytes: number): Promise<Buffer> =>
  readBytes(running.mirror, { offsetBytes, lengthBytes });

/** What the data is, to the end of what was added; every ACTIVE component has the same. */
async function checkData(world: MemberWorld, running: AssembledMirror): Promise<void> {
  const { mediaSizeBytes } = running.mirror;
  expect((await read(running, 0, PATTERN.length)).equals(PATTERN)).toBe(true);
  expect((await read(running, LAST_AT, PATTERN.length)).equals(PATTERN)).toBe(true);
  const names = running.mirror.active.map(({ name }) => name);
  await running.close();
  const [first = '', ...others] = names;
  for (const name of others)
    expect(world.data(name, mediaSizeBytes).equals(world.data(first, mediaSizeBytes))).toBe(true);
}

describe('a mirror whose components have grown', () => {
  test.each(['a', 'ab', 'abc'])('is one with its private areas in files: of %s', async (inFiles) => {
    const world = await stopped('abc', 'abc', inFiles);
    world.grow('abc', ADDED_BYTES);
    const nowBytes = inFiles === 'abc' ? DISK_BYTES + ADDED_BYTES - 4096 : NEW_BYTES;
    expect(await resize(world, 'abc')).toEqual({ beforeBytes: OLD_BYTES, nowBytes });
    const running = await world.start('abc');
    expect(statesOf(running)).toBe('a ACTIVE, b ACTIVE, c ACTIVE');
    const added = await read(running, OLD_BYTES, nowBytes - OLD_BYTES);
    expect(added.equals(Buffer.alloc(added.length))).toBe(true);
    await checkData(world, running);
    for (const name of inFiles) expect(world.filesOf(name)).toEqual([`${name}.area`]);
  });

  test('finds the label of the second one behind where the first one had its own', async () => {
    const world = await stopped('ab');
    world.grow('ab', 64 * 1_048_576);
    let readBytesCount = 0;
    world.plans.set('b', ({ op, lengthBytes }) => {
      if (op === 'read') readBytesCount += lengthBytes;
      return null;
    });
    await resize(world, 'ab', OLD_BYTES + 1_048_576);
    expect(readBytesCount).toBeLessThan(24 * 1_048_576);
    world.plans.clear();
    await checkData(world, await world.start('ab'));
  });

  test('grows by no more than a block where no private area is in the way', async () => {
    const world = await stopped('ab', 'ab', 'ab');
    const wanted = OLD_BYTES + 4096;
    expect(await resize(world, 'ab', wanted)).toEqual({ beforeBytes: OLD_BYTES, nowBytes: wanted });
    await checkData(world, await world.start('ab'));
  });

  test('is as large as the smallest has room for, with its data, and zeros behind', async () => {
    const world = await stopped('abc');
    world.grow('abc', ADDED_BYTES);
    world.grow('c', ADDED_BYTES);
    await expect(world.start('abc')).rejects.toThrow(
      "for one that was made larger, 'ggmirror resize' comes first",
    );
    expect(await resize(world, 'abc')).toEqual({ beforeBytes: OLD_BYTES, nowBytes: NEW_BYTES });
    const running = await world.start('abc');
    expect(statesOf(running)).toBe('a ACTIVE, b ACTIVE, c ACTIVE');
    expect(running.mirror.mediaSizeBytes).toBe(NEW_BYTES);
    const added = await read(running, OLD_BYTES, NEW_BYTES - OLD_BYTES);
    expect(added.equals(Buffer.alloc(added.length))).toBe(true);
    await writeBytes(running.mirror, NEW_BYTES - PATTERN.length, PATTERN);
    await checkData(world, running);
    expect(await world.label('b')).toMatchObject({
      mediaSizeBytes: NEW_BYTES,
      providerSizeBytes: DISK_BYTES + ADDED_BYTES,
    });
  });

  test('grows as much as a person wants, and again later', async () => {
    const world = await stopped('ab');
    world.grow('ab', ADDED_BYTES);
    const wanted = OLD_BYTES + 1_048_576;
    expect(await resize(world, 'ab', wanted + 100)).toEqual({ beforeBytes: OLD_BYTES, nowBytes: wanted });
    await checkData(world, await world.start('ab'));
    expect(await resize(world, 'ab')).toEqual({ beforeBytes: wanted, nowBytes: NEW_BYTES });
    await checkData(world, await world.start('ab'));
  });

  test('notes losses and marks in its new areas as it did in the old ones', async () => {
    const world = await stopped('ab');
    world.grow('ab', ADDED_BYTES);
    await resize(world, 'ab');
    const running = await world.start('ab');
    running.mirror.drop(componentOf(running, 'b'), new Error('gone') as never);
    await writeBytes(running.mirror, NEW_BYTES - PATTERN.length, PATTERN);
    await running.close();
    const again = await world.start('ab');
    await until('the resync', () => again.mirror.state === 'COMPLETE');
    expect(componentOf(again, 'b').counters.bytesWritten).toBeLessThanOrEqual(2 * 65_536);
    await checkData(world, again);
  });
});

test('a component that was resized without its mirror is left alone, and shown, when it comes back', async () => {
  const world = await stopped('ab');
  const elsewhere = world.copy();
  elsewhere.grow('ab', ADDED_BYTES);
  await resize(elsewhere, 'ab');
  const running = await world.start('ab');
  const b = componentOf(running, 'b');
  running.mirror.drop(b, new Error('gone') as never);
  await b.closing;
  world.exchange('b', elsewhere);
  const before = Buffer.from(elsewhere.data('b', Infinity));
  expect(await comeBack(running, 'b')).toBe('resized');
  expect(b.refused).toEqual({ outcome: 'resized', copyBytes: null });
  expect(b.trouble).toBe(
    `it was resized without this mirror: ${NEW_BYTES} bytes, and the mirror has ${OLD_BYTES}; stop the mirror and start ` +
      "it with both, or take it in anew with 'ggmirror forget m' and 'ggmirror insert --force m b'",
  );
  await running.close();
  expect(elsewhere.data('b', Infinity).equals(before)).toBe(true);
});

describe('a resize is refused', () => {
  test.each([
    ['when nobody has grown', '', null, 'Cannot expand provider mirror/m'],
    ['when not all have grown', 'a', null, 'b has room for no more'],
    ['when too much is wanted', 'ab', 2 * NEW_BYTES, 'Provider a is too small.'],
    ['when the mirror would be smaller', 'ab', OLD_BYTES - 4096, 'larger, never smaller'],
    ['when two private areas have no room', 'ab', OLD_BYTES + 4096, 'less than the'],
  ])('%s', async (_when, grown, sizeBytes, message) => {
    const world = await stopped('ab');
    world.grow(grown, ADDED_BYTES);
    const refused = resize(world, 'ab', sizeBytes);
    await expect(refused).rejects.toThrow(message);
    await expect(refused).rejects.toBeInstanceOf(ResizeError);
    const running = await world.start('ab');
    expect(running.mirror.mediaSizeBytes).toBe(OLD_BYTES);
    await checkData(world, running);
  });

  test('without all components, after a crash, and while one misses something', async () => {
    const world = await stopped('ab');
    world.grow('ab', ADDED_BYTES);
    await expect(resize(world, 'a')).rejects.toThrow(ResizeError);
    await expect(resize(world, 'ab')).resolves.toBeDefined();
    const crashed = await stopped('ab');
    const running = await crashed.start('ab');
    await writeBytes(running.mirror, 0, PATTERN);
    crashed.crash(1);
    crashed.grow('ab', ADDED_BYTES);
    await expect(resize(crashed, 'ab')).rejects.toThrow('was not stopped with all its components ACTIVE');
    const behind = await stopped('ab');
    const degraded = await behind.start('ab');
    degraded.mirror.drop(componentOf(degraded, 'b'), new Error('gone') as never);
    await degraded.close();
    behind.grow('ab', ADDED_BYTES);
    await expect(resize(behind, 'ab')).rejects.toThrow('was not stopped with all its components ACTIVE');
  });

  test.each([
    ['in a file that is gone', 'a has no private area: a.area is not there'],
    ['on a disk', 'a has its private area on a disk, where there is no room for a second one'],
  ])('of a component whose private area is %s', async (where, message) => {
    const world = await stopped('ab', 'ab', 'a');
    const first = world.opener('a');
    const make = (): Promise<void> => Promise.reject(new Error('it is made'));
    const open = async (): ReturnType<typeof first.open> => {
      const { device, area } = await first.open();
      return where === 'on a disk'
        ? { device, area }
        : { device, area: null, newArea: { name: 'a.area', make } };
    };
    const random = { nextU32: () => 0, nextBytes: (lengthBytes: number) => Buffer.alloc(lengthBytes) };
    const resizing = resizeMirror({ name: 'm', providers: [{ ...first, open }], size: null, random });
    await expect(resizing).rejects.toThrow(message);
  });

  test('of disks that are none of this mirror', async () => {
    const world = await stopped('ab', 'abc');
    await expect(resize(world, 'abc')).rejects.toThrow("c has no label of mirror 'm'");
  });
});

/** The size with which it starts, or how that is refused. It is written to. */
async function startOf(world: MemberWorld, names: string, degraded = false): Promise<string> {
  let running: AssembledMirror;
  try {
    running = await world.start(names, { degraded });
  } catch (error) {
    if (!(error instanceof AssembleError)) throw error;
    const { message } = error;
    return message.includes('was made larger') ? 'not yet' : message;
  }
  const expected = running.mirror.components.filter(({ isConnected }) => isConnected);
  await until('the resyncs', () => expected.every(({ state }) => state === 'ACTIVE'));
  await writeBytes(running.mirror, 0, PATTERN);
  const isOld = running.mirror.mediaSizeBytes === OLD_BYTES;
  for (const { name } of expected) expect(world.filesOf(name)).not.toContain(`${name}.area.resized`);
  await checkData(world, running);
  return isOld ? 'old' : 'new';
}

test.each([
  ['on the disks', ''],
  ['in a file and on a disk', 'a'],
  ['in files', 'ab'],
])(
  'power lost at any write or flush of a resize leaves the old size or the new one, with all data, and a second resize ends it; private areas are %s',
  async (_where, inFiles) => {
    const found = new Set<string>();
    const before = await stopped('ab', 'ab', inFiles);
    before.grow('ab', ADDED_BYTES / 4);
    for (let requests = 1, isOver = false; !isOver; requests++) {
      const world = before.copy();
      world.cutPowerAfterChanges(requests);
      await resize(world, 'ab').catch(() => undefined);
      isOver = !world.isPowerCut;
      const crashed = world.copyAfterCrash(requests);
      // Each alone, which is used then, and the other one comes later.
      const [ofA, ofB] = [crashed.copy(), crashed.copy()];
      const alone = [await startOf(ofA, 'a', true), await startOf(ofA, 'ab')];
      alone.push(await startOf(ofB, 'b', true), await startOf(ofB, 'ab'));
      found.add(`${await startOf(crashed, 'ab')}; ${alone.join(', ')}`);
      await resize(crashed, 'ab').catch((error: unknown) => expect(error).toBeInstanceOf(ResizeError));
      expect(await startOf(crashed, 'ab')).toBe('new');
    }
    expect([...found].sort()).toEqual([
      'new; new, new, new, new',
      'new; new, new, old, old',
      'not yet; not yet, not yet, not yet, not yet',
      'not yet; old, not yet, not yet, not yet',
      'old; old, old, old, old',
    ]);
  },
);
