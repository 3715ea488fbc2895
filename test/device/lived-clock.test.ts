import { expect, test } from 'vitest';
import { LivedClock } from '../../src/device/lived-clock.js';
import { FakeClock } from '../support/fake-clock.js';

const nothing = (): void => undefined;

test('time in which the program stood still is not told, whoever asks first', () => {
  const clock = new FakeClock();
  const lived = new LivedClock(clock, nothing);
  clock.advance(10_200);
  expect(lived.nowMs()).toBe(10_200);
  clock.standStill(3_600_000);
  expect(lived.nowMs()).toBe(10_500);
  clock.advance(1000);
  expect(lived.nowMs()).toBe(11_500);
  clock.standStill(60_000);
  clock.advance(0);
  expect(lived.nowMs()).toBe(12_000);
});

test('what is less than half a second late is a busy program, and counts', () => {
  const clock = new FakeClock();
  const lived = new LivedClock(clock, nothing);
  for (let beat = 0; beat < 10; beat++) {
    clock.standStill(1000);
    clock.advance(0);
  }
  expect(lived.nowMs()).toBe(10_000);
});

test('a timer rings when that much has been lived through', () => {
  const clock = new FakeClock();
  const lived = new LivedClock(clock, nothing);
  let rings = 0;
  lived.after(5000, () => (rings += 1));
  lived.after(5000, () => (rings += 100)).cancel();
  const cancelled = lived.after(5000, () => (rings += 100));
  clock.advance(2000);
  clock.standStill(3_600_000);
  clock.advance(2000);
  expect(rings).toBe(0);
  cancelled.cancel();
  clock.advance(1000);
  expect(rings).toBe(1);
});

test('when it is stopped nothing is left of it, and all time counts', () => {
  const clock = new FakeClock();
  let beats = 0;
  const lived = new LivedClock(clock, () => (beats += 1));
  clock.advance(1000);
  lived.stop();
  expect(clock.timerCount).toBe(0);
  clock.standStill(3_600_000);
  expect(lived.nowMs()).toBe(3_601_000);
  expect(beats).toBe(2);
});
