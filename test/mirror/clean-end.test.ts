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
