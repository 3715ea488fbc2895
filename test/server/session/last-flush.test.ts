import { describe, expect, test } from 'vitest';
import { DeviceError } from '../../../src/device/block-device.js';
import { FlushDebt } from '../../../src/server/flush-debt.js';
import { LAST_FLUSH_MS_MAX, lastFlush } from '../../../src/server/session/last-flush.js';
import { SessionMemory } from '../../../src/server/session/memory.js';
import { FakeClock } from '../../support/fake-clock.js';

const broken = new DeviceError('DEVICE_IO', 'EIO', 'the disk failed');
const good = (): Promise<void> => Promise.resolve();

/** A session that has written, on a disk that flushes, whose client was told that all its flushes were good. */
function session() {
  const memory = SessionMemory.create();
  memory.setDirty();
  return {
    canWrite: true,
    memory,
    slow: { isFlushing: false, hasFlushFailed: false },
    debt: new FlushDebt(),
    flush: good,
    failed: () => undefined,
    clock: new FakeClock(),
  };
}

describe('the last flush of a session', () => {
  test('that is good leaves no debt', async () => {
    expect(await lastFlush('detached', session())).toEqual({ isFlushed: true, owesFlush: false });
    expect(await lastFlush('connection lost', session())).toEqual({ isFlushed: true, owesFlush: false });
  });

  test('that fails is owed to the next session', async () => {
    const ending = { ...session(), flush: () => Promise.reject(broken) };
    expect(await lastFlush('detached', ending)).toEqual({ isFlushed: false, owesFlush: true });
  });

  test('that hangs is owed to the next session', async () => {
    const ending = { ...session(), flush: () => new Promise<void>(() => undefined) };
    const outcome = lastFlush('detached', ending);
    ending.clock.advance(LAST_FLUSH_MS_MAX);
    expect(await outcome).toEqual({ isFlushed: false, owesFlush: true });
  });

  test('is not good while one of the client hangs, which may be told of a failure in its place', async () => {
    const ending = { ...session(), slow: { isFlushing: true, hasFlushFailed: false } };
    expect(await lastFlush('detached', ending)).toEqual({ isFlushed: false, owesFlush: true });
  });

  test('waits long for one of the client that takes long', async () => {
    const slow = { isFlushing: true, hasFlushFailed: false };
    const ending = { ...session(), slow };
    ending.memory.takeSlow(1);
    const outcome = lastFlush('connection lost', ending);
    while (ending.clock.nowMs() < 0.75 * LAST_FLUSH_MS_MAX) {
      ending.clock.advance(5);
      await new Promise(setImmediate);
    }
    slow.isFlushing = false;
    ending.memory.releaseSlow();
    ending.clock.advance(5);
    expect(await outcome).toEqual({ isFlushed: true, owesFlush: false });
  });

  test('makes up for none that failed before, unless the client has heard of it and ended its session', async () => {
    const ending = { ...session(), slow: { isFlushing: false, hasFlushFailed: true } };
    expect(await lastFlush('connection lost', ending)).toEqual({ isFlushed: true, owesFlush: true });
    expect(await lastFlush('detached', ending)).toEqual({ isFlushed: true, owesFlush: false });
  });

  test('owes one that failed when its client was gone already, as a program is that was killed', async () => {
    const slow = { isFlushing: true, hasFlushFailed: false };
    const ending = { ...session(), slow };
    ending.memory.takeSlow(1);
    const outcome = lastFlush('detached', ending);
    ending.clock.advance(5);
    await new Promise(setImmediate);
    slow.isFlushing = false;
    slow.hasFlushFailed = true;
    ending.memory.releaseSlow();
    ending.clock.advance(5);
    expect(await outcome).toEqual({ isFlushed: true, owesFlush: true });
  });

  test('passes on what an earlier session owed and no flush has paid', async () => {
    const ending = session();
    ending.debt.owe(broken);
    expect(await lastFlush('detached', ending)).toEqual({ isFlushed: true, owesFlush: true });
  });

  test('is none of a session that only reads', async () => {
    const ending = { ...session(), canWrite: false, flush: () => Promise.reject(broken) };
    expect(await lastFlush('connection lost', ending)).toEqual({ isFlushed: true, owesFlush: false });
  });
});
