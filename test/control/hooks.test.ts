import { setImmediate as nextTurn } from 'node:timers/promises';
import { beforeEach, describe, expect, test } from 'vitest';
import { type HookCall, Hooks } from '../../src/control/hooks.js';
import { HOOK_CLOSE_MS, HOOK_MS, HOOKS_WAITING_MAX } from '../../src/control/limits.js';
import { FakeClock } from '../support/fake-clock.js';
import { MemoryLog } from '../support/memory-log.js';

interface Started {
  readonly words: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  isKilled: boolean;
  end(how: string | null): void;
}

let clock: FakeClock;
let log: MemoryLog;
let started: Started[];
let hooks: Hooks;

beforeEach(() => {
  clock = new FakeClock();
  log = new MemoryLog();
  started = [];
  const start = (
    words: readonly string[],
    environment: Readonly<Record<string, string>>,
  ): ReturnType<typeof run> => run(words, environment);
  hooks = new Hooks({ start, clock, log });
});

function withResolvers(): { promise: Promise<string | null>; resolve: (how: string | null) => void } {
  let settle: ((how: string | null) => void) | null = null;
  const promise = new Promise<string | null>((resolve) => (settle = resolve));
  return { promise, resolve: (how) => settle?.(how) };
}

function run(
  words: readonly string[],
  environment: Readonly<Record<string, string>>,
): { ended: Promise<string | null>; kill: () => void } {
  const { promise: ended, resolve: end } = withResolvers();
  const one: Started = { words, environment, isKilled: false, end };
  started.push(one);
  const kill = (): void => {
    one.isKilled = true;
    end('SIGKILL');
  };
  return { ended, kill };
}

const call = (fields: Partial<HookCall> = {}): HookCall => ({
  event: 'degraded',
  mirror: 'sites',
  state: 'DEGRADED',
  component: null,
  reason: null,
  ...fields,
});

describe('a hook', () => {
  test('is told in three words what has happened, and in its environment more', () => {
    const component = { name: 'ggate://backup/b', state: 'DISCONNECTED' };
    hooks.tell(call({ event: 'disconnected', component, reason: 'gone\nto\u0000sleep' }));
    expect(started[0]?.words).toEqual(['disconnected', 'sites', 'ggate://backup/b']);
    expect(started[0]?.environment).toEqual({
      GGMIRROR_EVENT: 'disconnected',
      GGMIRROR_MIRROR: 'sites',
      GGMIRROR_STATE: 'DEGRADED',
      GGMIRROR_COMPONENT: 'ggate://backup/b',
      GGMIRROR_COMPONENT_STATE: 'DISCONNECTED',
      GGMIRROR_REASON: 'gone to sleep',
    });
  });

  test('has three words for the whole mirror, too', () => {
    hooks.tell(call());
    expect(started[0]?.words).toEqual(['degraded', 'sites', '']);
  });

  test('is called once at a time, in the order of what happened', async () => {
    for (const mirror of ['1', '2', '3']) hooks.tell(call({ mirror }));
    expect(started).toHaveLength(1);
    started[0]?.end(null);
    await nextTurn();
    expect(started.map(({ words }) => words[1])).toEqual(['1', '2']);
    started[1]?.end(null);
    await nextTurn();
    started[2]?.end(null);
    await nextTurn();
    hooks.tell(call({ mirror: '4' }));
    expect(started.map(({ words }) => words[1])).toEqual(['1', '2', '3', '4']);
  });

  test('that fails is logged, and called again the next time', async () => {
    hooks.tell(call());
    hooks.tell(call({ event: 'complete' }));
    started[0]?.end('exit status 3');
    await nextTurn();
    expect(log.at('error')).toMatchObject([{ fields: { event: 'degraded', reason: 'exit status 3' } }]);
    expect(started[1]?.words[0]).toBe('complete');
  });

  test('that hangs is killed in time', async () => {
    hooks.tell(call());
    hooks.tell(call({ event: 'complete' }));
    clock.advance(HOOK_MS - 1);
    expect(started[0]?.isKilled).toBe(false);
    clock.advance(1);
    expect(started[0]?.isKilled).toBe(true);
    await nextTurn();
    expect(log.at('error')[0]?.message).toContain('was killed');
    expect(started).toHaveLength(2);
  });

  test('that is too slow misses the oldest events, never the last', async () => {
    const count = HOOKS_WAITING_MAX + 3;
    for (let index = 0; index < count; index++) hooks.tell(call({ mirror: String(index) }));
    for (let at = 0; at < started.length; at++) {
      started[at]?.end(null);
      await nextTurn();
    }
    expect(started).toHaveLength(HOOKS_WAITING_MAX + 1);
    expect(started.map(({ words }) => words[1]).slice(0, 2)).toEqual(['0', '3']);
    expect(started.at(-1)?.words[1]).toBe(String(count - 1));
    expect(log.at('error')).toHaveLength(2);
  });

  test('is waited for at the end, but not for long', async () => {
    hooks.tell(call());
    let isClosed = false;
    const closing = hooks.close().then(() => (isClosed = true));
    await nextTurn();
    expect(isClosed).toBe(false);
    clock.advance(HOOK_CLOSE_MS);
    await closing;
    expect(started[0]?.isKilled).toBe(false);
  });

  test('that has ended keeps nobody waiting, nor a timer', async () => {
    hooks.tell(call());
    started[0]?.end(null);
    await hooks.close();
    expect(clock.timerCount).toBe(0);
  });
});
