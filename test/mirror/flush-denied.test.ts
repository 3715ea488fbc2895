import { expect, test } from 'vitest';
import type { BlockIo } from '../../src/device/block-device.js';
import { flushPromiseOf } from '../../src/mirror/mirror-flush.js';
import type { AssembledMirror } from '../../src/mirror/start/assembled.js';
import { REGION_SIZE_BYTES } from '../../src/protocol/geometry.js';
import { readBytes, writeBytes } from '../support/device-requests.js';
import type { Fault } from '../support/fault-device.js';
import { comeBack, componentOf, MemberWorld, statesOf, untilComplete } from '../support/member-world.js';
import { lost } from '../support/mirror-rig.js';

const PATTERN = Buffer.alloc(4096, 7);

const denied = (io: BlockIo): Fault | null =>
  io.op === 'flush' ? { kind: 'fail', errno: 'EOPNOTSUPP' } : null;

/** As a front end asks for it. */
const flushed = (running: AssembledMirror): Promise<string | null> =>
  new Promise((resolve) => {
    running.mirror.start({
      ...{ op: 'flush', offsetBytes: 0, lengthBytes: 0, buffer: null, bufferAt: 0 },
      done: (error) => resolve(error?.errno ?? null),
    });
  });

const markedRegions = ({ mirror }: AssembledMirror, name: string): number | undefined =>
  mirror.resyncOf(componentOf({ mirror } as AssembledMirror, name))?.totalBytes;

test('a component that can not flush any more stays, is known and shown as such, and keeps all that it was sent as not flushed', async () => {
  const world = await new MemberWorld('ab').create('ab');
  const running = await world.start('ab');
  await writeBytes(running.mirror, 0, PATTERN);
  world.plans.set('b', denied);
  expect(await flushed(running)).toBeNull();
  expect(statesOf(running)).toBe('a ACTIVE, b ACTIVE');
  const b = componentOf(running, 'b');
  expect(b.can.flush).toBe(false);
  expect(b.trouble).toBe('it can not flush any more, so what it was sent may be lost with its host');
  expect(world.events).toEqual(['b unable to flush']);
  await writeBytes(running.mirror, 3 * REGION_SIZE_BYTES, PATTERN);
  expect(await flushed(running)).toBeNull();
  // Its host loses its power.
  running.mirror.drop(b, lost('b'));
  await b.closing;
  for (const at of [0, 3 * REGION_SIZE_BYTES]) await writeBytes(world.device('b'), at, Buffer.alloc(4096));
  expect(await comeBack(running, 'b')).toBe('SYNCHRONIZING');
  expect(markedRegions(running, 'b')).toBe(2 * REGION_SIZE_BYTES);
  await untilComplete(running);
  expect(b.can.flush).toBe(false);
  expect(world.events.filter((event) => event === 'b disconnected')).toHaveLength(1);
  const all = { offsetBytes: 0, lengthBytes: running.mirror.mediaSizeBytes };
  await running.close();
  expect((await readBytes(world.device('b'), all)).equals(await readBytes(world.device('a'), all))).toBe(
    true,
  );
});

test('a mirror whose components all deny a flush says so to whoever asked for it, and goes on', async () => {
  const world = await new MemberWorld('ab').create('ab');
  const running = await world.start('ab');
  await writeBytes(running.mirror, 0, PATTERN);
  for (const name of 'ab') world.plans.set(name, denied);
  for (let times = 0; times < 2; times++) expect(await flushed(running)).toBe('EOPNOTSUPP');
  expect(flushPromiseOf(running.mirror)).toBe('refused');
  expect(statesOf(running)).toBe('a ACTIVE, b ACTIVE');
  await writeBytes(running.mirror, 0, PATTERN);
  await running.close();
});

test('a component that says it can flush, and never could, is copied to once after a start and stays', async () => {
  const world = await new MemberWorld('ab').create('ab');
  world.plans.set('b', denied);
  for (let starts = 0; starts < 2; starts++) {
    const running = await world.start('ab');
    await untilComplete(running);
    await writeBytes(running.mirror, 0, PATTERN);
    expect(await flushed(running)).toBeNull();
    expect(statesOf(running)).toBe('a ACTIVE, b ACTIVE');
    await running.close();
  }
  expect(world.events).not.toContain('b disconnected');
});

test('a component that came back by another way and says itself that it can not flush is believed when that changes', async () => {
  const world = await new MemberWorld('ab').create('ab');
  const running = await world.start('ab');
  world.plans.set('b', denied);
  expect(await flushed(running)).toBeNull();
  const b = componentOf(running, 'b');
  for (const canFlush of [false, true]) {
    running.mirror.drop(b, lost('b'));
    await b.closing;
    world.plans.delete('b');
    if (!canFlush) world.denyFlush('b');
    else world.allowFlush('b');
    await comeBack(running, 'b');
    await untilComplete(running);
    expect(b.can.flush).toBe(canFlush);
  }
  await running.close();
});
