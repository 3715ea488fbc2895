import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { troubleLines } from '../../src/cli/commands/promote.js';
import { CHECK_EXIT, checkStatuses } from '../../src/cli/mirrors/check-status.js';
import { CommandError } from '../../src/cli/errors.js';
import { NotRunningError } from '../../src/control/control-client.js';
import { isStuck, waitUntilActive } from '../../src/cli/mirrors/wait-active.js';
import { statusOf, type ComponentStatus, type MirrorStatus } from '../../src/control/status.js';
import { makeRig } from '../support/mirror-rig.js';

/** A mirror of two, of which the second one is as given. */
function mirrorWith(fields: Partial<ComponentStatus>): MirrorStatus {
  const { mirror } = makeRig();
  const around = {
    name: 'rig',
    pid: 1,
    isAutosync: true,
    nbd: [],
    ggate: null,
    clients: 0,
    providers: new Map(),
  };
  const status = statusOf(mirror, around);
  const components = status.components.map((one, index) => (index === 1 ? { ...one, ...fields } : one));
  return { ...status, components, state: fields.state === 'ACTIVE' ? 'COMPLETE' : 'DEGRADED' };
}

test.each([
  [{ state: 'ACTIVE' }, 0, 'mirror/rig COMPLETE'],
  [{ state: 'SYNCHRONIZING' }, 3, 'mirror/rig DEGRADED, disk1 (SYNCHRONIZING)'],
  [{ state: 'STALE' }, 4, 'mirror/rig DEGRADED, disk1 (STALE)'],
  [{ state: 'DISCONNECTED', why: 'gone' }, 4, 'mirror/rig DEGRADED, disk1 (DISCONNECTED): gone'],
  [
    { state: 'DISCONNECTED', isInactive: true, why: 'deactivated' },
    4,
    'mirror/rig DEGRADED, disk1 (DISCONNECTED, INACTIVE)',
  ],
] as const)('monitoring learns of a mirror with a component %j', (fields, exitCode, line) => {
  expect(checkStatuses([mirrorWith(fields)])).toEqual({ exitCode, lines: [line] });
});

test.each([
  [{ state: 'ACTIVE' }, true, null],
  [
    { state: 'DISCONNECTED', why: 'gone' },
    true,
    'disk1; it is brought up to date by itself when it comes back, unless it was written without this one',
  ],
  [{ state: 'DISCONNECTED', why: 'gone' }, false, 'disk1'],
  [{ state: 'DISCONNECTED', isInactive: true }, true, 'disk1 (DISCONNECTED, INACTIVE)'],
  [
    { state: 'DISCONNECTED', why: 'written alone', refused: { outcome: 'split brain', copyBytes: 1 } },
    true,
    'disk1 (DISCONNECTED, SPLIT BRAIN): written alone',
  ],
] as const)(
  'who promotes is promised nothing of a component %j with autosync %j that will not come true',
  (fields, isAutosync, text) => {
    const lines = troubleLines({ ...mirrorWith(fields), isAutosync });
    expect(lines).toEqual(text === null ? [] : [`degraded: without ${text}`]);
  },
);

test('monitoring learns what a mirror waits for that does not run yet', () => {
  const waiting = {
    ...mirrorWith({ state: 'DISCONNECTED' }),
    state: 'STARTING',
    waitsFor: 'b is not there',
  } as const;
  expect(checkStatuses([waiting])).toEqual({ exitCode: 4, lines: ['mirror/rig STARTING: b is not there'] });
});

describe('who waits for a mirror', () => {
  const nobody = new CommandError('No such geom', { cause: new NotRunningError('nobody listens') });
  const waitFor = (answers: (MirrorStatus | Error)[]): Promise<void> =>
    waitUntilActive({
      name: 'rig',
      flags: { runDir: '/nowhere' },
      label: 'synchronize',
      wanted: ({ components }) => components,
      limitMs: null,
      look: () => {
        const answer = answers.shift() ?? new Error('no more answers');
        return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
      },
    });
  const starting: MirrorStatus = { ...mirrorWith({ state: 'DISCONNECTED' }), state: 'STARTING' };

  test('does not mind that it can not be asked for a moment when it begins to run', async () => {
    await waitFor([starting, nobody, nobody, mirrorWith({ state: 'ACTIVE' })]);
  });

  test('hears of its end', async () => {
    await expect(waitFor([mirrorWith({ state: 'STALE' }), nobody])).rejects.toThrow('No such geom');
    await expect(waitFor([starting, new CommandError('another error')])).rejects.toThrow('another error');
  });

  test('hears that only a person can help', async () => {
    const resting = mirrorWith({ state: 'DISCONNECTED', isInactive: true });
    await expect(waitFor([resting])).rejects.toThrow(
      'mirror/rig is DEGRADED: disk1 (DISCONNECTED, INACTIVE)',
    );
  });
});

test('of several mirrors the worst one counts', () => {
  const states = ['ACTIVE', 'DISCONNECTED', 'SYNCHRONIZING'] as const;
  expect(checkStatuses(states.map((state) => mirrorWith({ state }))).exitCode).toBe(4);
});

test('a split brain is the worst, and is written out', () => {
  const split = mirrorWith({ state: 'DISCONNECTED', refused: { outcome: 'split brain', copyBytes: 0 } });
  const { exitCode, lines } = checkStatuses([mirrorWith({ state: 'DISCONNECTED' }), split]);
  expect(exitCode).toBe(5);
  expect(lines[1]).toContain('(DISCONNECTED, SPLIT BRAIN)');
});

test('the exit statuses are documented', () => {
  const text = readFileSync(new URL('../../docs/monitoring.md', import.meta.url), 'utf8');
  for (const code of Object.values(CHECK_EXIT)) expect(text).toMatch(new RegExp(`^\\| ${code} \\| \\S`, 'm'));
});

test.each([
  [{ state: 'SYNCHRONIZING' }, true, false],
  [{ state: 'DISCONNECTED', why: 'nobody listens' }, true, false],
  [{ state: 'STALE' }, true, false],
  [{ state: 'STALE' }, false, true],
  [{ state: 'DISCONNECTED', isInactive: true }, true, true],
  [{ state: 'DISCONNECTED', refused: { outcome: 'split brain', copyBytes: 65_536 } }, true, true],
] as const)('who waits for %j, with autosync %s, waits for a person: %s', (fields, isAutosync, isWaiting) => {
  const [, component] = mirrorWith(fields).components;
  if (component === undefined) throw new Error('no second component');
  expect(isStuck(component, { isAutosync })).toBe(isWaiting);
});
