import { afterEach, beforeEach, expect, test } from 'vitest';
import { Syslog } from '../../src/cli/daemon/syslog.js';
import { systemClock, type Clock } from '../../src/device/clock.js';
import { DIE_AFTER_ONE_LINE, HANG, makeFakeLogger } from '../support/fake-logger.js';
import { makeScratch, type Scratch } from '../support/scratch.js';
import { memoryHeld } from '../support/memory-held.js';
import { until } from '../support/until.js';

const pathBefore = process.env['PATH'];
let scratch: Scratch;
beforeEach(() => {
  scratch = makeScratch();
});
afterEach(() => {
  process.env['PATH'] = pathBefore;
  scratch.remove();
});

test('each line reaches logger with the facility daemon, its level and our tag', async () => {
  const logger = makeFakeLogger(scratch);
  process.env['PATH'] = logger.searchPath;
  const syslog = new Syslog('ggated[42]', systemClock);
  syslog.write('info', 'one');
  syslog.write('error', 'two');
  syslog.write('warning', 'three');
  syslog.write('info', 'four');
  await syslog.close(20_000);
  expect(logger.lines().sort()).toEqual([
    '-t ggated[42] -p daemon.err|two',
    '-t ggated[42] -p daemon.info|four',
    '-t ggated[42] -p daemon.info|one',
    '-t ggated[42] -p daemon.warning|three',
  ]);
});

test('a logger that died is started again, not more often than every five seconds, and losses are told', async () => {
  const logger = makeFakeLogger(scratch, DIE_AFTER_ONE_LINE);
  process.env['PATH'] = logger.searchPath;
  let nowMs = 0;
  const clock: Clock = { ...systemClock, nowMs: () => (nowMs += 1) }; // asked once for each line without a logger
  const syslog = new Syslog('t', clock);
  syslog.write('info', 'first');
  await until('a second logger', () => {
    for (let count = 0; count < 1_000; count++) syslog.write('info', 'lost');
    return logger.lines().length === 2;
  });
  expect(logger.lines()[0]).toBe('-t t -p daemon.info|first');
  expect(logger.lines()[1]).toMatch(/\|[45]\d{3} lines before this one were lost on the way to syslog$/);
  await syslog.close(20_000);
});

test('without a logger nothing happens, and nothing waits', async () => {
  process.env['PATH'] = scratch.folder;
  const syslog = new Syslog('t', systemClock);
  syslog.write('info', 'nobody hears this');
  await syslog.close(20_000);
  syslog.write('info', 'nor this');
  await syslog.close(20_000);
});

function heldBytes(): number {
  const { arrayBuffers, heapUsed } = memoryHeld();
  return arrayBuffers + heapUsed;
}

test('a logger that hangs costs a bounded amount of memory and of time', async () => {
  const logger = makeFakeLogger(scratch, `echo $$ > "$output"; ${HANG}`);
  process.env['PATH'] = logger.searchPath;
  const syslog = new Syslog('t', systemClock);
  syslog.write('info', 'begin');
  const pid = await until('the logger', () => Number(logger.lines()[0] ?? NaN) || null);
  try {
    const line = 'x'.repeat(1_000);
    const before = heldBytes();
    for (let count = 0; count < 100_000; count++) syslog.write('info', line);
    const after = heldBytes();
    expect(after - before).toBeLessThan(50_000_000);
    await syslog.close(1);
  } finally {
    process.kill(pid);
  }
});
