import { expect, test } from 'vitest';
import type { AssembledMirror } from '../../src/mirror/start/assembled.js';
import { flushPromiseOf } from '../../src/mirror/mirror-flush.js';
import { writeBytes } from '../support/device-requests.js';
import { comeBack, componentOf, MemberWorld, statesOf, untilComplete } from '../support/member-world.js';
import { lost } from '../support/mirror-rig.js';

const PATTERN = Buffer.alloc(4096, 7);

/** As a front end asks for it. */
const flushed = (running: AssembledMirror): Promise<string | null> =>
  new Promise((resolve) => {
    running.mirror.start({
      ...{ op: 'flush', offsetBytes: 0, lengthBytes: 0, buffer: null, bufferAt: 0 },
      done: (error) => resolve(error?.errno ?? null),
    });
  });

/** Of a local image, a, and an export, b, whose server can't flush. */
async function withPlainBackup(): Promise<MemberWorld> {
  const world = await new MemberWorld('ab').create('ab');
  world.denyFlush('b');
  return world;
}

test('a flush is good while the local image is there, and fails when only a component is left that can not flush', async () => {
  const world = await withPlainBackup();
  const running = await world.start('ab');
  await untilComplete(running);
  await writeBytes(running.mirror, 0, PATTERN);
  expect(await flushed(running)).toBeNull();
  const a = componentOf(running, 'a');
  running.mirror.drop(a, lost('a'));
  await a.closing;
  await writeBytes(running.mirror, 0, PATTERN);
  expect(await flushed(running)).toBe('EOPNOTSUPP');
  expect(flushPromiseOf(running.mirror)).toBe('refused');
  expect(running.mirror.can.flush).toBe(true);
  await comeBack(running, 'a');
  await untilComplete(running);
  expect(await flushed(running)).toBeNull();
  await running.close();
});

test('a flush that the only one able to do it fails is not answered as good by one that can not flush', async () => {
  const world = await withPlainBackup();
  const running = await world.start('ab');
  await untilComplete(running);
  await writeBytes(running.mirror, 0, PATTERN);
  world.plans.set('a', (io) => (io.op === 'flush' ? { kind: 'fail', errno: 'EIO' } : null));
  expect(await flushed(running)).toBe('EOPNOTSUPP');
  expect(statesOf(running)).toBe('a DISCONNECTED, b ACTIVE');
  expect(await flushed(running)).toBe('EOPNOTSUPP');
  await running.close();
});

test('a flush fails while what is copied to is the only one that can do it', async () => {
  const world = await withPlainBackup();
  const running = await world.start('ab', { isAutosync: false });
  running.mirror.drop(componentOf(running, 'a'), lost('a'));
  await writeBytes(running.mirror, 0, PATTERN);
  world.plans.set('a', (io) =>
    io.op === 'write' && io.offsetBytes < running.mirror.mediaSizeBytes ? { kind: 'hold' } : null,
  );
  await comeBack(running, 'a');
  const resync = running.mirror.startResync(componentOf(running, 'a'));
  expect(await flushed(running)).toBe('EOPNOTSUPP');
  await resync.catch(() => undefined);
  running.mirror.drop(componentOf(running, 'a'), lost('a'));
  await running.close();
});

test('where the administrator has said so, flushes that nobody keeps are answered, and that is known', async () => {
  const world = await withPlainBackup();
  const running = await world.start('ab', { isUnsafeFlushWanted: true });
  await untilComplete(running);
  expect(flushPromiseOf(running.mirror)).toBe('kept');
  running.mirror.drop(componentOf(running, 'a'), lost('a'));
  await writeBytes(running.mirror, 0, PATTERN);
  expect(await flushed(running)).toBeNull();
  expect(flushPromiseOf(running.mirror)).toBe('unsafe');
  await running.close();
  // Nobody is to be told of that.
  expect(flushPromiseOf(running.mirror)).toBe('kept');
});

test('a mirror of components that can not flush works, keeps its log in order, and fails flushes only', async () => {
  const world = await withPlainBackup();
  world.denyFlush('a');
  const running = await world.start('ab', { extentsMax: 1 });
  await untilComplete(running);
  await writeBytes(running.mirror, 0, PATTERN);
  expect(await flushed(running)).toBe('EOPNOTSUPP');
  await writeBytes(running.mirror, 512 * 1024, PATTERN);
  expect(statesOf(running)).toBe('a ACTIVE, b ACTIVE');
  await running.close();
});
