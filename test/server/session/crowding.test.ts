import { describe, expect, test } from 'vitest';
import { type ThreadTimes, threadTimes } from '../../../src/device/platform/thread-times.js';
import { Crowding } from '../../../src/server/session/crowding.js';

/** What each look says when the thread ran and waited so long since the one before. */
function looks(...steps: (readonly [ranNs: number, waitedNs: number] | null)[]): boolean[] {
  let times: ThreadTimes | null = { ranNs: 1000, waitedNs: 900_000 };
  const crowding = new Crowding(() => times);
  return steps.map((step) => {
    if (times !== null && step !== null)
      times = { ranNs: times.ranNs + step[0], waitedNs: times.waitedNs + step[1] };
    else times = null;
    return crowding.look();
  });
}

describe('crowding', () => {
  test('is felt by a thread that waits longer for a processor than it has one', () => {
    expect(looks([100, 99], [100, 101], [0, 0], [100, 300])).toEqual([false, true, false, true]);
  });

  test('stays until the thread waits less than a quarter as long as it runs', () => {
    expect(looks([100, 101], [100, 26], [100, 24], [100, 26])).toEqual([true, true, false, false]);
  });

  test('is never felt where the system does not tell, or no longer tells', () => {
    expect(new Crowding(() => null).look()).toBe(false);
    expect(looks([100, 101], null, [100, 101])).toEqual([true, false, false]);
  });
});

describe('the times of a thread', () => {
  test.runIf(process.platform === 'linux')('grow while it runs', () => {
    const before = threadTimes();
    let now = before;
    for (let count = 0; count < 1_000_000 && now?.ranNs === before?.ranNs; count++) now = threadTimes();
    expect(now?.ranNs).toBeGreaterThan(before?.ranNs ?? Infinity);
    expect(now?.waitedNs).toBeGreaterThanOrEqual(before?.waitedNs ?? Infinity);
  });

  test.runIf(process.platform !== 'linux')('are unknown elsewhere', () => {
    expect(threadTimes()).toBeNull();
  });
});
