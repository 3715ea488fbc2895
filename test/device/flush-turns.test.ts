import { describe, expect, test } from 'vitest';
import { DeviceError } from '../../src/device/block-device.js';
import { FlushTurns } from '../../src/device/flush-turns.js';

const BROKEN = new DeviceError('DEVICE_IO', 'EIO', 'the disk failed');

/** What begins and how it ends, in order. Flushes are called by numbers. */
function recorder(): { turns: FlushTurns<number>; log: string[] } {
  const log: string[] = [];
  const turns = new FlushTurns<number>({
    begin: (flushes) => log.push(`begins ${flushes.join()}`),
    answer: (flushes, error) => log.push(`${error === null ? 'good' : 'failed'} ${flushes.join()}`),
  });
  return { turns, log };
}

describe('flushes of one device', () => {
  test('that come while one runs share the next one', () => {
    const { turns, log } = recorder();
    for (const flush of [1, 2, 3]) turns.add(flush);
    turns.ended(null);
    turns.add(4);
    turns.ended(null);
    turns.ended(null);
    expect(log).toEqual(['begins 1', 'begins 2,3', 'good 1', 'begins 4', 'good 2,3', 'good 4']);
  });

  test('that wait for one that fails fail with it, and the one that comes after that is tried', () => {
    const { turns, log } = recorder();
    for (const flush of [1, 2, 3]) turns.add(flush);
    turns.ended(BROKEN);
    turns.add(4);
    turns.ended(null);
    expect(log).toEqual(['begins 1', 'failed 1,2,3', 'begins 4', 'good 4']);
  });

  test('that wait can be taken back', () => {
    const { turns, log } = recorder();
    for (const flush of [1, 2, 3]) turns.add(flush);
    expect(turns.takeWaiting()).toEqual([2, 3]);
    expect(turns.running).toEqual([1]);
    turns.ended(null);
    expect(log).toEqual(['begins 1', 'good 1']);
  });
});
