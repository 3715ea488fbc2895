import { expect, test } from 'vitest';
import { writeBytes } from '../support/device-requests.js';
import { makeRig } from '../support/mirror-rig.js';

test('an end while the mirror settles down after its last write is a clean one', async () => {
  const rig = makeRig();
  const stores = rig.disks.map(({ store }) => store);
  await writeBytes(rig.mirror, 0, Buffer.alloc(4096, 7));
  const [, second] = rig.disks;
  if (second === undefined) throw new Error('no disk');
  second.fault.plan = (io) => (io.op === 'flush' ? { kind: 'hold' } : null);
  rig.clock.advance(6000);
  await rig.settle();
  const closed = rig.mirror.close();
  await rig.settle();
  second.fault.release();
  await closed;
  expect(stores.map(({ durable }) => durable.superblock.isRunning)).toEqual([false, false]);
  expect(stores.map(({ durable }) => durable.log)).toEqual([[], []]);
});

test('a component that is silent at the end holds it up for its time-out only, and the others end cleanly', async () => {
  const rig = makeRig();
  const [first, second] = rig.disks;
  if (first === undefined || second === undefined) throw new Error('no disk');
  await writeBytes(rig.mirror, 0, Buffer.alloc(4096, 7));
  second.fault.plan = (io) => (io.op === 'flush' ? { kind: 'hold' } : null);
  const closed = rig.mirror.close();
  for (let waits = 0; waits < 30; waits++) {
    await rig.settle();
    rig.clock.advance(500);
  }
  await closed;
  expect(rig.component(1).trouble).toContain('is silent for 10 s');
  expect(first.store.durable.superblock.isRunning).toBe(false);
  expect(first.store.durable.superblock.slots[1]?.isMarked).toBe(true);
});
