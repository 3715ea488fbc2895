import { beforeEach, describe, expect, test } from 'vitest';
import { PHASE, SessionMemory } from '../../../src/server/session/memory.js';
import { Watchdog } from '../../../src/server/session/watchdog.js';
import { FakeClock } from '../../support/fake-clock.js';

const LIMITS = { diskTimeoutMs: 20_000, silentMsMax: 15_000, stuckMsMax: 8000, sendTimeoutMs: 60_000 };

describe('the watchdog', () => {
  let clock: FakeClock;
  let memory: SessionMemory;
  let said: string[];

  function watch(limits: Partial<typeof LIMITS> = {}): Watchdog {
    return new Watchdog(
      memory,
      { ...LIMITS, ...limits },
      { diskHangs: () => said.push('disk hangs'), end: (reason) => said.push(reason) },
      clock,
    );
  }

  beforeEach(() => {
    clock = new FakeClock();
    memory = SessionMemory.create();
    said = [];
  });

  test('lets a client without keep-alive be silent for ever', () => {
    watch({ silentMsMax: 0 });
    clock.advance(10_000_000);
    expect(said).toEqual([]);
  });

  test('ends a session with keep-alive after three silent intervals, and not before', () => {
    watch();
    clock.advance(14_000);
    expect(said).toEqual([]);
    clock.advance(1500);
    expect(said[0]).toBe('client silent');
  });

  test('gives a client that takes what another thread sends as much time as one that the engine sends to', () => {
    const watchdog = watch();
    memory.lockSend();
    memory.handOver(100);
    clock.advance(59_000);
    expect(said).toEqual([]);
    memory.sent(false);
    // It was not silent: it has taken its answers.
    expect(watchdog.silentMs()).toBe(0);
    memory.lockSend();
    memory.handOver(100);
    clock.advance(59_000);
    expect(said).toEqual([]);
    clock.advance(2000);
    expect(said[0]).toBe('client takes no answers');
  });

  test('finds a hanging disk in time, also while another thread sends', () => {
    watch();
    memory.move(PHASE.reading, PHASE.working);
    memory.move(PHASE.working, PHASE.disk);
    clock.advance(19_000);
    memory.lockSend();
    memory.handOver(100);
    clock.advance(2000);
    expect(said[0]).toBe('disk hangs');
  });

  test('counts silence from the last move', () => {
    const watchdog = watch();
    clock.advance(10_000);
    memory.move(PHASE.reading, PHASE.working);
    memory.move(PHASE.working, PHASE.reading);
    expect(watchdog.silentMs()).toBe(0);
    clock.advance(10_000);
    expect(watchdog.silentMs()).toBe(10_000);
    expect(said).toEqual([]);
  });

  test('ends a session whose client stops in the middle of a request', () => {
    watch({ silentMsMax: 0 });
    memory.have = 100;
    clock.advance(9000);
    expect(said[0]).toBe('stuck in a request');
  });

  test('ends a session whose client stops in the middle of a payload that is thrown away', () => {
    watch({ silentMsMax: 0 });
    memory.skipBytes = 3_000_000_000;
    clock.advance(9000);
    expect(said[0]).toBe('stuck in a request');
  });

  test('reports one disk call that lasts too long, but not many short ones', () => {
    watch();
    memory.move(PHASE.reading, PHASE.working);
    for (let call = 0; call < 100; call++) {
      memory.move(PHASE.working, PHASE.disk);
      clock.advance(1000);
      memory.move(PHASE.disk, PHASE.working);
    }
    expect(said).toEqual([]);
    memory.move(PHASE.working, PHASE.disk);
    clock.advance(20_500);
    expect(said[0]).toBe('disk hangs');
  });

  test('ends a session whose client takes no answers', () => {
    watch();
    memory.move(PHASE.reading, PHASE.working);
    memory.move(PHASE.working, PHASE.sending);
    clock.advance(60_500);
    expect(said[0]).toBe('client takes no answers');
  });

  test('takes nothing for silence that the program itself stood still for, and goes on counting', () => {
    const watchdog = watch();
    clock.advance(10_000);
    clock.standStill(3_600_000);
    // Whoever asks may be the first to notice.
    expect(watchdog.silentMs()).toBeLessThan(12_000);
    clock.advance(1000);
    memory.move(PHASE.reading, PHASE.disk);
    clock.advance(10_000);
    clock.standStill(3_600_000);
    clock.advance(5000);
    expect(said).toEqual([]);
    clock.advance(6000);
    expect(said[0]).toBe('disk hangs');
  });

  test('is quiet after stop', () => {
    const watchdog = watch();
    watchdog.stop();
    clock.advance(1_000_000);
    expect(said).toEqual([]);
  });
});
