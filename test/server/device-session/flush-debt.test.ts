import { describe, expect, test } from 'vitest';
import { Features } from '../../../src/protocol/capabilities.js';
import { COMMAND } from '../../../src/protocol/request.js';
import { FlushDebt } from '../../../src/server/flush-debt.js';
import { DeviceSessionRig, RIG_MEDIA_BYTES } from '../../support/device-session-rig.js';
import { request } from '../../support/requests.js';

const EIO = 5;
const write = request(COMMAND.write, 0, 512, 1, Buffer.alloc(512, 7));
const flush = request(COMMAND.flush, RIG_MEDIA_BYTES, 0, 2);

/** A session that has answered these requests, each before the next one came. */
async function answering(debt: FlushDebt, isBroken: boolean, ...requests: Buffer[]) {
  const rig = new DeviceSessionRig({ debt, features: Features.all });
  if (isBroken) rig.device.plan = ({ op }) => (op === 'flush' ? { kind: 'fail', errno: 'EIO' } : null);
  for (const one of requests) {
    rig.deliver(one);
    await rig.settle();
  }
  return { rig, errors: (await rig.answers()).map(({ errorNumber }) => errorNumber) };
}

describe('a flush that fails', () => {
  test('at the end of a session is told to the next one, once', async () => {
    const debt = new FlushDebt();
    const first = await answering(debt, true, write);
    first.rig.receive.finish();
    await first.rig.settle();
    expect(first.rig.result).toEqual({ reason: 'detached', isFlushed: false });
    const second = await answering(debt, false, flush, flush);
    expect(second.errors).toEqual([EIO, 0]);
  });

  test('is told to every flush that was asked for before it was known', async () => {
    const rig = new DeviceSessionRig({ features: Features.all });
    rig.device.plan = ({ op }) => (op === 'flush' ? { kind: 'hold' } : null);
    rig.deliver(write, flush, flush);
    await rig.settle();
    // As systems do, the device tells of it once.
    rig.device.plan = () => null;
    rig.device.release('EIO');
    await rig.settle();
    rig.deliver(flush);
    expect((await rig.answers()).map(({ errorNumber }) => errorNumber)).toEqual([0, EIO, EIO, 0]);
  });

  test('is told again when nobody knows whether the client has heard of it', async () => {
    const debt = new FlushDebt();
    const first = await answering(debt, true, write, flush);
    expect(first.errors).toEqual([0, EIO]);
    first.rig.device.plan = () => null;
    first.rig.receive.destroy();
    await first.rig.settle();
    expect((await answering(debt, false, flush, flush)).errors).toEqual([EIO, 0]);
  });

  test('is told again also when a later one was good, for both answers may be lost', async () => {
    const debt = new FlushDebt();
    const first = await answering(debt, true, write, flush);
    first.rig.device.plan = () => null;
    first.rig.deliver(flush);
    expect((await first.rig.answers()).map(({ errorNumber }) => errorNumber)).toEqual([0, EIO, 0]);
    first.rig.receive.destroy();
    await first.rig.settle();
    expect((await answering(debt, false, flush, flush)).errors).toEqual([EIO, 0]);
  });

  test('is told to the next client when its own was gone before it was answered', async () => {
    const debt = new FlushDebt();
    const rig = new DeviceSessionRig({ debt, features: Features.all });
    rig.device.plan = ({ op }) => (op === 'flush' ? { kind: 'hold' } : null);
    rig.deliver(write, flush);
    await rig.settle();
    // So it looks when a program is killed: its system ends the connection between two requests.
    rig.receive.finish();
    await rig.settle();
    rig.device.plan = () => null;
    rig.device.release('EIO');
    await rig.settle();
    expect(rig.result).toEqual({ reason: 'detached', isFlushed: true });
    expect((await answering(debt, false, flush, flush)).errors).toEqual([EIO, 0]);
  });

  test('is not told to another client when the one that was told has ended its session', async () => {
    const debt = new FlushDebt();
    const first = await answering(debt, true, write, flush);
    first.rig.device.plan = () => null;
    first.rig.receive.finish();
    await first.rig.settle();
    expect((await answering(debt, false, flush)).errors).toEqual([0]);
  });
});
