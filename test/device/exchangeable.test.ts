import { expect, test } from 'vitest';
import { DeviceError, type BlockIo } from '../../src/device/block-device.js';
import { ExchangeableDevice } from '../../src/device/wrappers/exchangeable.js';
import { MemoryDevice } from '../support/memory-device.js';

/** Keeps its requests until the test finishes them. */
class LatentDevice extends MemoryDevice {
  readonly started: BlockIo[] = [];

  override start(io: BlockIo): void {
    this.started.push(io);
  }
}

test('tells of each request that comes while no other is under way, and of no other', () => {
  const device = new LatentDevice();
  let alone = 0;
  const exchangeable = new ExchangeableDevice(device, () => (alone += 1));
  const start = (): void =>
    exchangeable.start({
      ...{ op: 'flush', offsetBytes: 0, lengthBytes: 0, buffer: null, bufferAt: 0 },
      done: () => undefined,
    });
  start();
  start();
  expect(alone).toBe(1);
  for (const io of device.started.splice(0)) io.done(null);
  start();
  expect(alone).toBe(2);
});

test('tells what is owed to every flush that is under way when the first one ends, and to no later one', async () => {
  const device = new LatentDevice();
  const exchangeable = new ExchangeableDevice(device);
  const told: (string | null)[] = [];
  const start = (op: 'flush' | 'write'): void => {
    const buffer = op === 'write' ? Buffer.alloc(512) : null;
    exchangeable.start({
      ...{ op, offsetBytes: 0, lengthBytes: buffer?.length ?? 0, buffer, bufferAt: 0 },
      done: (error) => told.push(error?.errno ?? null),
    });
  };
  await exchangeable.hold();
  exchangeable.owe(new DeviceError('DEVICE_IO', 'EIO', 'the disk failed'));
  for (const op of ['write', 'flush', 'flush'] as const) start(op);
  exchangeable.resume();
  for (const io of device.started.splice(0)) io.done(null);
  start('flush');
  for (const io of device.started.splice(0)) io.done(null);
  expect(told).toEqual([null, 'EIO', 'EIO', null]);
});
