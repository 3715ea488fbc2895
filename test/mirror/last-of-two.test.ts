import { expect, test } from 'vitest';
import { DeviceError } from '../../src/device/block-device.js';
import { start, writeBytes } from '../support/device-requests.js';
import { makeRig } from '../support/mirror-rig.js';

const BLOCK = Buffer.alloc(4096, 7);

test('a component that has failed a write is not dropped with the one that is silent in the same write', async () => {
  const rig = makeRig();
  const [first, second] = rig.disks;
  await writeBytes(rig.mirror, 0, BLOCK);
  if (first === undefined || second === undefined) throw new Error('no disks');
  first.fault.plan = (io) => (io.op === 'write' ? { kind: 'fail', errno: 'EIO' } : null);
  second.fault.plan = () => ({ kind: 'hold' });
  // The second one waits for the range, and finds the components as the first one leaves them.
  const writes = [1, 2].map(() => start(rig.mirror, 'write', { offsetBytes: 0, lengthBytes: 4096 }, BLOCK));
  await rig.settle();
  rig.clock.advance(10_500);
  await rig.settle();
  expect((await Promise.all(writes)).map((error) => error?.code)).toEqual(['DEVICE_IO', 'DEVICE_IO']);
  expect([rig.component(0).state, rig.component(1).state]).toEqual(['ACTIVE', 'DISCONNECTED']);
  first.fault.plan = () => null;
  await writeBytes(rig.mirror, 0, BLOCK);
});

test('a write that the last component failed is no success because one that is gone by now had taken it', async () => {
  const rig = makeRig({ count: 3 });
  const [first, second, third] = rig.disks;
  await writeBytes(rig.mirror, 0, BLOCK);
  if (first === undefined || second === undefined || third === undefined) throw new Error('no disks');
  first.fault.plan = (io) => (io.op === 'write' ? { kind: 'fail', errno: 'EIO' } : null);
  third.fault.plan = () => ({ kind: 'hold' });
  const write = start(rig.mirror, 'write', { offsetBytes: 0, lengthBytes: 4096 }, Buffer.alloc(4096, 8));
  await rig.settle();
  second.vanish(new DeviceError('DEVICE_LOST', 'ENXIO', 'the cable was pulled'));
  await rig.settle();
  rig.clock.advance(10_500);
  await rig.settle();
  expect((await write)?.code).toBe('DEVICE_IO');
  expect([0, 1, 2].map((slot) => rig.component(slot).state)).toEqual([
    'ACTIVE',
    'DISCONNECTED',
    'DISCONNECTED',
  ]);
});
