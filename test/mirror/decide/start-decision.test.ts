import { describe, expect, test } from 'vitest';
import {
  MASTER_ROWS,
  decideStart,
  dirtyShare,
  type StartDecision,
  type StartInput,
} from '../../../src/mirror/decide/start-decision.js';
import { NO_DISK_FLAGS, NO_MIRROR_FLAGS } from '../../../src/protocol/gmirror-flags.js';
import type { GmirrorLabel } from '../../../src/protocol/gmirror-label.js';
import { aLabel, kernelSet } from '../../support/labels.js';

interface Disk {
  readonly genid?: number;
  readonly syncid?: number;
  readonly priority?: number;
  readonly dirty?: boolean;
  readonly synchronizing?: boolean;
  readonly forceSync?: boolean;
}

/** Labels of one mirror, in order of arrival. */
function labelsOf(disks: readonly Disk[], all = disks.length, noAutoSync = false): GmirrorLabel[] {
  return disks.map(({ genid = 0, syncid = 1, priority = 0, ...flags }, index) =>
    aLabel({
      did: index + 1,
      all,
      genid,
      syncid,
      priority,
      mirrorFlags: { ...NO_MIRROR_FLAGS, noAutoSync },
      diskFlags: { ...NO_DISK_FLAGS, ...flags },
    }),
  );
}

const start = (labels: readonly GmirrorLabel[], fields: Partial<StartInput> = {}): StartDecision =>
  decideStart({ labels, isForced: false, era: 'FreeBSD 12', rules: 'kernel', ...fields });

/** 'ACTIVE DROPPED', or the outcome where there is no mirror. */
const summary = (decision: StartDecision): string =>
  decision.outcome === 'run' ? decision.components.map(({ fate }) => fate).join(' ') : decision.outcome;

/** Section 5 of the metadata spec for FreeBSD 12, step by step: slow, with state, and written without the tables. */
function oracle(labels: readonly GmirrorLabel[], isForced: boolean): string {
  const first = labels[0];
  if (first === undefined) return isForced ? 'destroy' : 'wait';
  if (labels.length !== first.all && !isForced) return 'wait';
  const disks = labels.map((label, arrival) => ({ ...label, ...label.diskFlags, arrival, fate: '' }));
  if (isForced && disks.every((disk) => disk.synchronizing)) return 'destroy';
  const genid = Math.max(...disks.map((disk) => disk.genid));
  const left = disks.filter((disk) => disk.genid === genid);
  const syncid = Math.max(...left.map((disk) => disk.syncid));
  const good = left.filter((disk) => disk.syncid === syncid && !disk.synchronizing);
  const dirtyCount = good.filter((disk) => disk.dirty).length;
  let master = good[0];
  for (const disk of good) if (master !== undefined && disk.priority >= master.priority) master = disk;
  for (const disk of good) {
    if (dirtyCount === 0) continue;
    if (dirtyCount === good.length ? disk !== master : disk.dirty) disk.syncid = 0;
  }
  for (const disk of disks) {
    const mayCopy = !first.mirrorFlags.noAutoSync || disk.forceSync;
    if (!left.includes(disk)) disk.fate = 'DROPPED';
    else if (disk.syncid === syncid && !disk.synchronizing) disk.fate = 'ACTIVE';
    else disk.fate = mayCopy ? 'SYNCHRONIZING' : 'STALE';
  }
  if (!disks.some((disk) => disk.fate === 'ACTIVE')) return 'destroy';
  const bumps = isForced || left.length < disks.length || disks.some((disk) => disk.fate === 'STALE');
  return `${disks.map((disk) => disk.fate).join(' ')} ${genid} ${syncid} ${String(bumps)}`;
}

function product<T>(choices: readonly T[], count: number): T[][] {
  if (count === 0) return [[]];
  return product(choices, count - 1).flatMap((rest) => choices.map((choice) => [...rest, choice]));
}

const claims = [false, true];
const FULL: readonly Disk[] = [0, 1].flatMap((genid) =>
  [0, 1, 2].flatMap((syncid) =>
    [0, 1].flatMap((priority) =>
      claims.flatMap((dirty) =>
        claims.flatMap((synchronizing) =>
          claims.map((forceSync) => ({ genid, syncid, priority, dirty, synchronizing, forceSync })),
        ),
      ),
    ),
  ),
);
const SHORT = FULL.filter(({ syncid, priority, forceSync }) => syncid !== 0 && priority === 0 && !forceSync);

function* everyInput(): Generator<{ labels: GmirrorLabel[]; isForced: boolean }> {
  const sets = [[], ...product(FULL, 1), ...product(FULL, 2), ...product(SHORT, 3)];
  for (const disks of sets) {
    for (const noAutoSync of claims) {
      const labels = labelsOf(disks, Math.max(disks.length, 1), noAutoSync);
      for (const isForced of claims) yield { labels, isForced };
    }
  }
  for (const disks of product(SHORT, 2))
    for (const isForced of claims) yield { labels: labelsOf(disks, 3), isForced };
}

describe('the start decision', () => {
  test('is the one of the specification for every input of up to three components', () => {
    let count = 0;
    for (const { labels, isForced } of everyInput()) {
      const decision = start(labels, { isForced });
      const said =
        decision.outcome === 'run'
          ? `${summary(decision)} ${decision.genid} ${decision.syncid} ${String(decision.bumpsAtFirstWrite)}`
          : decision.outcome;
      // A comparison costs less than an assertion, and there are tens of thousands.
      if (said !== oracle(labels, isForced))
        expect(said, JSON.stringify(labels)).toBe(oracle(labels, isForced));
      count += 1;
    }
    expect(count).toBeGreaterThan(50_000);
  });

  test('by our rules has the same fates, and no label says less than the truth', () => {
    for (const { labels, isForced } of everyInput()) {
      const ours = start(labels, { isForced, rules: 'ours' });
      if (summary(ours) !== summary(start(labels, { isForced }))) throw new Error(JSON.stringify(labels));
      if (ours.outcome !== 'run') continue;
      for (const { fate, label } of ours.components) {
        const isWhole = !label.diskFlags.synchronizing && label.syncid === ours.syncid;
        const isRight = fate === 'DROPPED' || isWhole === (fate === 'ACTIVE');
        if (!isRight) throw new Error(`${fate} with ${JSON.stringify(label)}`);
      }
    }
  });

  test('has one row for every share of dirty components', () => {
    for (let count = 0; count <= 8; count++) {
      for (let dirty = 0; dirty <= count; dirty++) {
        expect(MASTER_ROWS.filter((row) => row.dirty === dirtyShare(dirty, count))).toHaveLength(1);
      }
    }
  });
});

describe('a mirror', () => {
  test.each([
    {
      what: 'with genids 1 and 0 drops the lower one',
      disks: [{ genid: 1 }, { genid: 0 }],
      says: 'ACTIVE DROPPED',
    },
    {
      what: 'whose components are all dirty takes the highest priority',
      disks: [
        { dirty: true, priority: 1 },
        { dirty: true, priority: 3 },
        { dirty: true, priority: 2 },
      ],
      says: 'SYNCHRONIZING ACTIVE SYNCHRONIZING',
    },
    {
      what: 'whose components are all dirty and of one priority takes the last that came',
      disks: [{ dirty: true }, { dirty: true }],
      says: 'SYNCHRONIZING ACTIVE',
    },
    {
      what: 'with one dirty component takes the clean one',
      disks: [{ dirty: true, priority: 9 }, { dirty: false }],
      says: 'SYNCHRONIZING ACTIVE',
    },
    {
      what: 'with a component that misses writes copies to it',
      disks: [{ syncid: 4 }, { syncid: 3 }],
      says: 'ACTIVE SYNCHRONIZING',
    },
    {
      what: 'does not take a half-copied component for good though its syncid is the highest',
      disks: [{ syncid: 1 }, { syncid: 2, synchronizing: true }],
      says: 'destroy',
    },
  ])('$what', ({ disks, says }) => {
    expect(summary(start(labelsOf(disks)))).toBe(says);
  });

  test('waits for missing components until the time is over, then bumps the syncid at its first write', () => {
    const labels = labelsOf([{}], 2);
    expect(start(labels).outcome).toBe('wait');
    expect(start(labels, { isForced: true })).toMatchObject({ outcome: 'run', bumpsAtFirstWrite: true });
  });

  test('without any component waits, and is given up when the time is over', () => {
    expect(start([]).outcome).toBe('wait');
    expect(start([], { isForced: true }).outcome).toBe('destroy');
  });

  test('with NOAUTOSYNC leaves what misses writes stale, and bumps the syncid at its first write', () => {
    const decision = start(labelsOf([{ syncid: 2 }, { syncid: 1 }], 2, true));
    expect(summary(decision)).toBe('ACTIVE STALE');
    expect(decision).toMatchObject({ bumpsAtFirstWrite: true });
  });
});

describe('FreeBSD 14', () => {
  const era = 'FreeBSD 14';
  const [old, fresh] = labelsOf([{ syncid: 1 }, { syncid: 2 }]);
  if (old === undefined || fresh === undefined) throw new Error('two labels');

  test.each([
    ['mediaSizeBytes', 524_288],
    ['all', 3],
    ['sliceBytes', 8192],
    ['balance', 4],
  ] as const)('throws out a component whose %s is not the newest one’s, and waits for it', (field, value) => {
    const labels = [{ ...old, [field]: value }, fresh];
    expect(start(labels, { era }).outcome).toBe('wait');
    const forced = start(labels, { era, isForced: true });
    expect(summary(forced)).toBe('DROPPED ACTIVE');
    expect(forced).toMatchObject({ bumpsAtFirstWrite: true });
  });

  test('counts a broken component as missing, where 12 starts at once', () => {
    const labels = labelsOf([{ genid: 0 }, { genid: 1 }]);
    expect(summary(start(labels))).toBe('DROPPED ACTIVE');
    expect(summary(start(labels, { era }))).toBe('wait');
    expect(summary(start(labels, { era, isForced: true }))).toBe('DROPPED ACTIVE');
  });

  test('takes the number of components from the newest label, 12 from the first', () => {
    const labels = [
      { ...old, all: 3 },
      { ...fresh, all: 1 },
    ];
    expect(summary(start(labels))).toBe('wait');
    expect(summary(start(labels, { era }))).toBe('DROPPED ACTIVE');
  });
});

describe('the labels that a real kernel left would start as', () => {
  test.each([
    { point: '02', components: 'ab', says: 'ACTIVE STALE' },
    { point: '04', components: 'ab', says: 'ACTIVE ACTIVE' },
    { point: '05', components: 'ab', says: 'STALE ACTIVE' },
    { point: '08', components: 'abc', says: 'ACTIVE ACTIVE SYNCHRONIZING' },
    { point: '09', components: 'abc', says: 'ACTIVE ACTIVE ACTIVE' },
    { point: '13', components: 'abc', says: 'ACTIVE ACTIVE SYNCHRONIZING' },
    { point: '13', components: 'ab', says: 'wait' },
    { point: '16', components: 'ab', says: 'ACTIVE ACTIVE' },
  ])('$says at point $point with $components', ({ point, components, says }) => {
    const labels = kernelSet(point).slice(0, components.length);
    for (const era of ['FreeBSD 12', 'FreeBSD 14'] as const) {
      expect(summary(start(labels, { era }))).toBe(says);
    }
  });
});
