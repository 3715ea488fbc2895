import { describe, expect, test } from 'vitest';
import { checkStatuses } from '../../src/cli/mirrors/check-status.js';
import { listLines } from '../../src/cli/mirrors/list-text.js';
import { detailLines, flushLines, statusLines } from '../../src/cli/mirrors/status-text.js';
import { mirrorPaths } from '../../src/control/paths.js';
import { statusOf, type ComponentStatus, type MirrorStatus } from '../../src/control/status.js';
import { lost, makeRig } from '../support/mirror-rig.js';

const MIB = 1_048_576;
const LOOK = { isScript: false, isGeomName: false };

const component = (name: string, rest: Partial<ComponentStatus> = {}): ComponentStatus => ({
  name,
  uuid: 'c'.repeat(32),
  state: 'ACTIVE',
  provider: { mediaSizeBytes: MIB, sectorSizeBytes: 512 },
  priority: 0,
  flags: [],
  isInactive: false,
  isLocal: true,
  canFlush: true,
  resync: null,
  markedBytes: 0,
  needsFullCopy: false,
  reads: 0,
  writes: 0,
  bytesRead: 0,
  bytesWritten: 0,
  errors: 0,
  inFlight: 0,
  refused: null,
  why: null,
  ...rest,
});

const mirror = (
  name: string,
  components: readonly ComponentStatus[],
  rest: Partial<MirrorStatus> = {},
): MirrorStatus => ({
  name,
  state: components.every(({ state }) => state === 'ACTIVE') ? 'COMPLETE' : 'DEGRADED',
  waitsFor: null,
  pid: 4711,
  mediaSizeBytes: 1_048_064,
  sectorSizeBytes: 512,
  balance: 'load',
  sliceBytes: 4096,
  isAutosync: true,
  flags: [],
  flushes: 'kept',
  isDirty: false,
  uuid: 'a'.repeat(32),
  generation: '1'.repeat(32),
  genid: 0,
  syncid: 1,
  isLossPending: false,
  nbd: [],
  ggate: null,
  clients: 0,
  verify: null,
  components,
  ...rest,
});

const copying = component('da1', {
  state: 'SYNCHRONIZING',
  flags: ['SYNCHRONIZING'],
  markedBytes: 3 * MIB,
  resync: {
    percent: 25,
    copiedBytes: MIB,
    totalBytes: 4 * MIB,
    leftBytes: 3 * MIB,
    sentBytes: MIB,
    zeroedBytes: 0,
    equalBytes: 0,
    rateBytesPerSecond: 2 * MIB,
    leftSeconds: 2,
  },
});
const gone = component('ggate://backup/b', {
  state: 'DISCONNECTED',
  markedBytes: 65_536,
  why: 'nobody listens',
});
const resting = component('da3', {
  state: 'DISCONNECTED',
  flags: ['HARDCODED', 'INACTIVE'],
  isInactive: true,
  why: 'deactivated',
});

describe('status', () => {
  test('looks like that of gmirror', () => {
    expect(statusLines([mirror('data', [component('da0'), copying])], LOOK)).toEqual([
      '       Name    Status  Components',
      'mirror/data  DEGRADED  da0 (ACTIVE)',
      '                       da1 (SYNCHRONIZING, 25%)',
    ]);
  });

  test('has columns as wide as the longest value', () => {
    const two = [mirror('a', [component('da0')]), mirror('remotemirror', [component('da1')])];
    expect(statusLines(two, LOOK)).toEqual([
      '               Name    Status  Components',
      '           mirror/a  COMPLETE  da0 (ACTIVE)',
      'mirror/remotemirror  COMPLETE  da1 (ACTIVE)',
    ]);
  });

  test('for scripts has no header and every line complete', () => {
    expect(
      statusLines([mirror('data', [component('da0'), gone])], { isScript: true, isGeomName: true }),
    ).toEqual(['data  DEGRADED  da0 (ACTIVE)', 'data  DEGRADED  ggate://backup/b (DISCONNECTED)']);
  });

  test('is empty without mirrors', () => {
    expect(statusLines([], LOOK)).toEqual([]);
  });

  test('says to who watches how far copying is, and why something is not there', () => {
    expect(detailLines([mirror('data', [component('da0'), copying, gone])])).toEqual([
      'da1: 1 MiB of 4 MiB, 2 MiB/s, 2 s left',
      'ggate://backup/b: up to 64 KiB behind; nobody listens',
    ]);
  });

  test('says of a deactivated component that it is', () => {
    const resters = [mirror('data', [component('da0'), resting])];
    expect(statusLines(resters, { isScript: true, isGeomName: false })).toEqual([
      'mirror/data  DEGRADED  da0 (ACTIVE)',
      'mirror/data  DEGRADED  da3 (DISCONNECTED, INACTIVE)',
    ]);
    expect(detailLines(resters)).toEqual([
      "da3: up to 0 B behind; deactivated, 'ggmirror activate' uses it again",
    ]);
    expect(listLines(resters[0] ?? mirror('', []))).toContain('   Flags: HARDCODED, INACTIVE');
  });
});

test('flushes that nobody keeps are shown, and where they fail monitoring is told', () => {
  const refused = mirror('data', [component('b', { canFlush: false })], { flushes: 'refused' });
  const text = 'flushes fail: no component in step can flush';
  expect(flushLines([refused])).toEqual([`mirror/data: ${text}`]);
  expect(listLines(refused)).toContain(`   Flush: ${text}`);
  expect(checkStatuses([refused])).toEqual({ exitCode: 4, lines: [`mirror/data COMPLETE, ${text}`] });
  const unsafe = mirror('data', [component('b', { canFlush: false })], { flushes: 'unsafe' });
  const words = 'flushes are answered and kept by nobody (unsafe-flush): no component in step can flush';
  expect(checkStatuses([unsafe])).toEqual({ exitCode: 0, lines: [`mirror/data COMPLETE, ${words}`] });
  expect(flushLines([mirror('data', [component('a')])])).toEqual([]);
});

test('list looks like that of gmirror, and adds what only we know', () => {
  const dirty = component('da0', { flags: ['DIRTY'] });
  expect(
    listLines(
      mirror('data', [dirty, copying, gone], {
        isDirty: true,
        clients: 1,
        flags: ['NOFAILSYNC', 'NOAUTOSYNC'],
      }),
    ),
  ).toEqual([
    'Geom name: data',
    'State: DEGRADED',
    'Components: 3',
    'Balance: load',
    'Slice: 4096',
    'Flags: NOFAILSYNC, NOAUTOSYNC',
    'GenID: 0',
    'SyncID: 1',
    'ID: 2863311530',
    'Type: AUTOMATIC',
    'Providers:',
    '1. Name: mirror/data',
    '   Mediasize: 1048064 (1.0M)',
    '   Sectorsize: 512',
    '   Mode: r1w1e0',
    'Consumers:',
    '1. Name: da0',
    '   Mediasize: 1048576 (1.0M)',
    '   Sectorsize: 512',
    '   Mode: r1w1e1',
    '   State: ACTIVE',
    '   Priority: 0',
    '   Flags: DIRTY',
    '   GenID: 0',
    '   SyncID: 1',
    '   ID: 3435973836',
    '2. Name: da1',
    '   Mediasize: 1048576 (1.0M)',
    '   Sectorsize: 512',
    '   Mode: r1w1e1',
    '   State: SYNCHRONIZING',
    '   Priority: 0',
    '   Flags: SYNCHRONIZING',
    '   GenID: 0',
    '   SyncID: 1',
    '   BytesSynced: 1048576',
    '   Synchronized: 25%',
    '   ID: 3435973836',
    '   Marked: 3145728 (3.0M)',
    '3. Name: ggate://backup/b',
    '   Mediasize: 1048576 (1.0M)',
    '   Sectorsize: 512',
    '   Mode: r0w0e0',
    '   State: DISCONNECTED',
    '   Priority: 0',
    '   Flags: NONE',
    '   GenID: 0',
    '   SyncID: 1',
    '   ID: 3435973836',
    '   Marked: 65536 (64K)',
    '   Why: nobody listens',
    '',
  ]);
});

test('what is shown is what the mirror says of itself', async () => {
  const rig = makeRig();
  const around = {
    name: 'rig',
    pid: 1,
    isAutosync: true,
    nbd: [],
    ggate: null,
    clients: 2,
    providers: new Map(),
  };
  expect(statusOf(rig.mirror, around)).toMatchObject({
    state: 'COMPLETE',
    components: [
      { name: 'disk0', state: 'ACTIVE', why: null },
      { name: 'disk1', state: 'ACTIVE', markedBytes: 0 },
    ],
  });
  const [, disk1] = rig.mirror.components;
  if (disk1 === undefined) throw new Error('no second component');
  disk1.missing.mark({ offsetBytes: 0, lengthBytes: 512 });
  rig.mirror.drop(disk1, lost('disk1'));
  await rig.settle();
  expect(statusOf(rig.mirror, around)).toMatchObject({
    state: 'DEGRADED',
    syncid: 2,
    components: [
      { state: 'ACTIVE' },
      { state: 'DISCONNECTED', markedBytes: 65_536, why: 'disk1 is gone', canFlush: false },
    ],
  });
});

test.each([
  { name: '', isFit: false },
  { name: 'remotemirror', isFit: true },
  { name: '../etc', isFit: false },
  { name: 'a/b', isFit: false },
  { name: '.hidden', isFit: false },
  { name: 'two words', isFit: false },
  { name: 'fifteen-letters', isFit: true },
  { name: 'sixteen-letters.', isFit: false },
])("that '$name' can be a mirror's name is $isFit", ({ name, isFit }) => {
  const paths = (): unknown => mirrorPaths('/run/ggmirror', name);
  if (isFit) expect(paths()).toMatchObject({ control: `/run/ggmirror/${name}.ctl` });
  else expect(paths).toThrow("can't be a mirror's name");
});

test('a run directory that is too deep for sockets is refused', () => {
  expect(() => mirrorPaths(`/${'x'.repeat(100)}`, 'data')).toThrow('use a shorter --run-dir');
});
