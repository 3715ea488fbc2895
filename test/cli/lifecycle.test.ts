import { EventEmitter } from 'node:events';
import { beforeEach, expect, test } from 'vitest';
import { serveUntilStopped, type RunningServer } from '../../src/cli/daemon/lifecycle.js';
import { createLineLog } from '../../src/cli/daemon/log.js';
import { SignalQueue } from '../../src/cli/daemon/signals.js';
import { FakeClock } from '../support/fake-clock.js';
import { until } from '../support/until.js';

let source: EventEmitter;
let signals: SignalQueue;
let clock: FakeClock;
let lines: string[];
const log = createLineLog((level, text) => lines.push(`${level}: ${text}`));

beforeEach(() => {
  source = new EventEmitter();
  signals = new SignalQueue(source);
  clock = new FakeClock();
  lines = [];
});

const never = new Promise<never>(() => undefined);

/** A server that does as it is told at once, but for what a test gives it. */
function fakeServer(parts: Partial<RunningServer> = {}): RunningServer {
  return {
    reload: async () => await Promise.resolve(),
    stopAccepting: () => lines.push('(no new connections)'),
    drain: async () => {
      lines.push('(drained)');
      await Promise.resolve();
    },
    sessionCount: async () => await Promise.resolve(0),
    ...parts,
  };
}

const serve = (server: RunningServer): Promise<void> => serveUntilStopped({ server, signals, log, clock });
const signal = (name: NodeJS.Signals): boolean => source.emit(name, name);

test.each(['SIGTERM', 'SIGINT'] as const)(
  '%s stops: no new connections, then the sessions, then the end',
  async (name) => {
    const served = serve(fakeServer());
    signal(name);
    await served;
    expect(lines).toEqual([
      `info: stopping: no new connections, requests in flight are finished (signal=${name})`,
      '(no new connections)',
      '(drained)',
      'info: stopped',
    ]);
  },
);

test('a signal that comes before anyone waits for it counts', async () => {
  signal('SIGTERM');
  await serve(fakeServer());
  expect(lines.at(-1)).toBe('info: stopped');
});

test('sessions that do not end are left after eleven seconds, and the log says so', async () => {
  const served = serve(fakeServer({ drain: async () => await never }));
  signal('SIGTERM');
  await until('the drain', () => clock.timerCount === 1);
  clock.advance(10_999);
  expect(clock.timerCount).toBe(1);
  clock.advance(1);
  await served;
  expect(lines.at(-1)).toMatch(/^warning: stopped before every session had ended/);
});

test('sessions that are still there after the drain are told of', async () => {
  const served = serve(fakeServer({ sessionCount: async () => await Promise.resolve(1) }));
  signal('SIGTERM');
  await served;
  expect(lines.at(-1)).toMatch(/^warning: stopped before every session had ended/);
});

test('a second SIGTERM does not wait for the sessions, a SIGHUP in between does nothing', async () => {
  let reloads = 0;
  const reload = async (): Promise<void> => {
    reloads += 1;
    await Promise.resolve();
  };
  const served = serve(fakeServer({ reload, drain: async () => await never }));
  signal('SIGTERM');
  await until('the drain', () => clock.timerCount === 1);
  signal('SIGHUP');
  signal('SIGTERM');
  await served;
  expect(reloads).toBe(0);
  expect(lines.at(-1)).toMatch(/^warning: stopped at once/);
});

test('a drain that fails is an end all the same', async () => {
  const served = serve(fakeServer({ drain: async () => await Promise.reject(new Error('lost count')) }));
  signal('SIGTERM');
  await served;
  expect(lines).toContain('error: the sessions did not end in order (reason="lost count")');
});

test('a reload that fails is logged with its reason, and the server goes on', async () => {
  const served = serve(
    fakeServer({ reload: async () => await Promise.reject(new Error('gg.exports:3: too few words')) }),
  );
  signal('SIGHUP');
  await until('the complaint', () => lines[0]);
  expect(lines).toEqual(['error: the exports stay as they were (reason="gg.exports:3: too few words")']);
  signal('SIGTERM');
  await served;
});

test('wishes for a reload that come during one make one more, and a SIGTERM does not wait for it', async () => {
  const reloads: (() => void)[] = [];
  const served = serve(fakeServer({ reload: () => new Promise((resolve) => reloads.push(resolve)) }));
  signal('SIGHUP');
  await until('the first reload', () => reloads.length === 1);
  for (let count = 0; count < 3; count++) {
    signal('SIGHUP');
    await Promise.resolve();
  }
  expect(reloads).toHaveLength(1);
  reloads[0]?.();
  await until('the second reload', () => reloads.length === 2);
  signal('SIGTERM');
  await served;
  expect(reloads).toHaveLength(2);
});

test('a queue that was closed leaves the signals to others', () => {
  signals.close();
  expect(source.eventNames()).toEqual([]);
});
