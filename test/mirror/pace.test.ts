import { describe, expect, test } from 'vitest';
import type { BlockOp } from '../../src/device/block-device.js';
import { Pace } from '../../src/mirror/sweep/pace.js';
import { FakeClock } from '../support/fake-clock.js';
import { request } from '../support/device-requests.js';

/** A caller's request that takes so long. */
function perform(pace: Pace, clock: FakeClock, tookMs: number, op: BlockOp = 'read'): void {
  const io = pace.watch(request({ op }));
  clock.advance(tookMs);
  io.done(null);
}

function busyPace(): { readonly pace: Pace; readonly clock: FakeClock } {
  const clock = new FakeClock();
  const pace = new Pace(clock);
  pace.sweepBegins();
  return { pace, clock };
}

/** Requests alone and requests beside a piece, and the pause that follows each of so many pieces. */
function pausesAfter(count: number, aloneMs: number, besideMs: number): number[] {
  const { pace, clock } = busyPace();
  const pauses: number[] = [];
  for (let piece = 0; piece < count; piece++) {
    perform(pace, clock, aloneMs);
    pace.pieceBegins();
    perform(pace, clock, besideMs);
    pauses.push(pace.pieceEnds(1));
  }
  return pauses;
}

describe('the pace of what a mirror does for itself', () => {
  test('grows piece by piece to that of a copy while callers are quiet', () => {
    const { pace } = busyPace();
    const windows = [1];
    for (let piece = 0; piece < 20; piece++) {
      pace.pieceBegins();
      expect(pace.pieceEnds(5)).toBe(0);
      windows.push(pace.windowAfter(windows.at(-1) ?? 0));
    }
    expect(windows.slice(0, 4)).toEqual([1, 2, 3, 4]);
    expect(windows.at(-1)).toBe(16);
    expect(pace.pieceRegionsMax).toBe(4);
  });

  test.each(['read', 'write', 'flush', 'trim', 'write-zeroes', 'checksum'] as const)(
    'is one small piece at a time from the beginning of a %s on',
    (op) => {
      const { pace, clock } = busyPace();
      const io = pace.watch(request({ op }));
      clock.advance(60_000);
      expect(pace.isGentle).toBe(true);
      expect(pace.windowAfter(16)).toBe(1);
      expect(pace.pieceRegionsMax).toBe(1);
      io.done(null);
      clock.advance(499);
      expect(pace.isGentle).toBe(true);
      clock.advance(1);
      expect(pace.isGentle).toBe(false);
    },
  );

  test('leaves the disks to busy callers for at least as long as a piece takes', () => {
    const { pace, clock } = busyPace();
    perform(pace, clock, 2);
    pace.pieceBegins();
    expect(pace.pieceEnds(7)).toBeGreaterThanOrEqual(7);
  });

  test('slows down while callers wait twice as long beside a piece, but never stands still', () => {
    const pauses = pausesAfter(200, 1, 3);
    const [first, last] = [pauses[0] ?? 0, pauses.at(-1) ?? 0];
    expect(last).toBeCloseTo(8 * first, 5);
    expect(pausesAfter(200, 100, 300).every((pauseMs) => pauseMs <= 250)).toBe(true);
  });

  test('does not slow down for callers that are slow by themselves', () => {
    const pauses = pausesAfter(200, 10, 12);
    expect(pauses.at(-1)).toBeCloseTo(pauses[0] ?? 0, 5);
  });

  test('speeds up again when callers are not hurt any more', () => {
    const { pace, clock } = busyPace();
    const round = (besideMs: number): number => {
      perform(pace, clock, 1);
      pace.pieceBegins();
      perform(pace, clock, besideMs);
      return pace.pieceEnds(1);
    };
    for (let piece = 0; piece < 100; piece++) round(4);
    const slow = round(4);
    for (let piece = 0; piece < 200; piece++) round(1);
    expect(round(1)).toBeLessThanOrEqual(slow / 7);
  });

  test('does not take a flush for a caller that is hurt', () => {
    const { pace, clock } = busyPace();
    for (let piece = 0; piece < 100; piece++) {
      perform(pace, clock, 1);
      pace.pieceBegins();
      perform(pace, clock, 1);
      perform(pace, clock, 50, 'flush');
      expect(pace.pieceEnds(1)).toBeLessThanOrEqual(2.5);
    }
  });
});
