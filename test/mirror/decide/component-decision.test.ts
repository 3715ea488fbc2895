import { describe, expect, test } from 'vitest';
import {
  KERNEL_COMPONENT_ROWS,
  OUR_COMPONENT_ROWS,
  componentRow,
  decideComponent,
  enterState,
  meets,
  type ComponentFacts,
  type ComponentFate,
} from '../../../src/mirror/decide/component-decision.js';
import { decideStart } from '../../../src/mirror/decide/start-decision.js';
import { NO_DISK_FLAGS, NO_MIRROR_FLAGS } from '../../../src/protocol/gmirror-flags.js';
import { decodeLabel, type GmirrorLabel } from '../../../src/protocol/gmirror-label.js';
import { aLabel, kernelSector } from '../../support/labels.js';

const ALL_FACTS: readonly ComponentFacts[] = (['equal', 'smaller', 'greater'] as const).flatMap((syncid) =>
  [false, true].flatMap((isSynchronizing) =>
    [false, true].flatMap((isLateDirty) =>
      [false, true].map((waitsForPerson) => ({ syncid, isSynchronizing, isLateDirty, waitsForPerson })),
    ),
  ),
);

/** The table of the metadata spec once more, as a function. */
function fateOf({ syncid, isSynchronizing, isLateDirty, waitsForPerson }: ComponentFacts): ComponentFate {
  if (syncid === 'greater') return 'DROPPED';
  if (syncid === 'equal' && !isSynchronizing && !isLateDirty) return 'ACTIVE';
  return waitsForPerson ? 'STALE' : 'SYNCHRONIZING';
}

describe.each([
  ['the kernel', KERNEL_COMPONENT_ROWS],
  ['us', OUR_COMPONENT_ROWS],
])('the component table of %s', (_, rows) => {
  test('has exactly one row for every combination of facts', () => {
    expect(ALL_FACTS).toHaveLength(24);
    for (const facts of ALL_FACTS) {
      expect(
        rows.filter(({ when }) => meets(facts, when)),
        JSON.stringify(facts),
      ).toHaveLength(1);
    }
  });

  test('decides as the specification says', () => {
    for (const facts of ALL_FACTS) {
      expect(componentRow(facts, rows).fate, JSON.stringify(facts)).toBe(fateOf(facts));
    }
  });
});

describe('the label of a component that is not whole', () => {
  const restarts = (rows: typeof KERNEL_COMPONENT_ROWS): ComponentFacts[] =>
    ALL_FACTS.filter((facts) => componentRow(facts, rows).restarts);

  test('is made to say so by the kernel only where the syncid is smaller', () => {
    expect(restarts(KERNEL_COMPONENT_ROWS)).toEqual(ALL_FACTS.filter(({ syncid }) => syncid === 'smaller'));
  });

  test('is made to say so by us in every case', () => {
    const incomplete = (facts: ComponentFacts): boolean => ['SYNCHRONIZING', 'STALE'].includes(fateOf(facts));
    expect(restarts(OUR_COMPONENT_ROWS)).toEqual(ALL_FACTS.filter(incomplete));
  });
});

const dirty = (fields: Partial<GmirrorLabel>): GmirrorLabel =>
  aLabel({ diskFlags: { ...NO_DISK_FLAGS, dirty: true }, ...fields });

/** A mirror that was started without one of its two components, and in use when the host crashed. */
describe('a late component that was in use when it was lost', () => {
  const good = dirty({ did: 1, priority: 0 });
  const late = dirty({ did: 2, priority: 100 });
  const mirror = { genid: 0, syncid: 1, activeCount: 1, noAutoSync: false };

  /** Who is taken for good after a crash in the middle of the synchronization. */
  function activeAfterCrash(rules: 'kernel' | 'ours', noAutoSync: boolean): number[] {
    const { fate, label } = decideComponent(late, { ...mirror, noAutoSync }, rules);
    expect(fate).toBe(noAutoSync ? 'STALE' : 'SYNCHRONIZING');
    if (fate === 'ACTIVE' || fate === 'DROPPED') throw new Error('not here');
    const mirrorFlags = { ...NO_MIRROR_FLAGS, noAutoSync };
    const written = enterState({ ...label, mirrorFlags }, fate, { isIdle: false });
    const labels = [{ ...good, mirrorFlags }, written];
    // The next start is the kernel's in either case: our labels have to be right for it.
    const start = decideStart({ labels, isForced: false, era: 'FreeBSD 12', rules: 'kernel' });
    if (start.outcome !== 'run') throw new Error(start.outcome);
    return labels.filter((_, index) => start.components[index]?.fate === 'ACTIVE').map(({ did }) => did);
  }

  test('may be taken for good by the kernel while it is half copied', () => {
    expect(activeAfterCrash('kernel', false)).toEqual([2]);
  });

  test('is taken for good by the kernel when it was left stale', () => {
    expect(activeAfterCrash('kernel', true)).toEqual([2]);
  });

  test.each([false, true])('is never taken for good with our labels (NOAUTOSYNC %s)', (noAutoSync) => {
    expect(activeAfterCrash('ours', noAutoSync)).toEqual([1]);
  });
});

describe('a component of a later generation', () => {
  const mirror = { genid: 0, syncid: 5, activeCount: 1, noAutoSync: false };
  const label = aLabel({ genid: 1, syncid: 1 });

  test('is copied over by the kernel if its syncid is smaller, and left alone by us', () => {
    expect(decideComponent(label, mirror, 'kernel').fate).toBe('SYNCHRONIZING');
    expect(decideComponent(label, mirror, 'ours').fate).toBe('DROPPED');
  });
});

describe('FORCE_SYNC', () => {
  test('lets a component that misses writes be copied to though NOAUTOSYNC is set', () => {
    const mirror = { genid: 0, syncid: 2, activeCount: 1, noAutoSync: true };
    const forced = aLabel({ diskFlags: { ...NO_DISK_FLAGS, forceSync: true } });
    expect(decideComponent(aLabel(), mirror, 'kernel').fate).toBe('STALE');
    expect(decideComponent(forced, mirror, 'kernel').fate).toBe('SYNCHRONIZING');
  });
});

describe('an interrupted synchronization', () => {
  const label = aLabel({ syncOffsetBytes: 131_072, diskFlags: { ...NO_DISK_FLAGS, synchronizing: true } });
  const mirror = { genid: 0, syncid: 1, activeCount: 1, noAutoSync: false };

  test.each([
    { rules: 'kernel', syncid: 1, offset: 131_072 },
    { rules: 'kernel', syncid: 2, offset: 0 },
    { rules: 'ours', syncid: 1, offset: 0 },
    { rules: 'ours', syncid: 2, offset: 0 },
  ] as const)(
    'goes on at $offset by $rules rules when the mirror is at $syncid',
    ({ rules, syncid, offset }) => {
      const decision = decideComponent(label, { ...mirror, syncid }, rules);
      expect(decision).toMatchObject({ fate: 'SYNCHRONIZING', label: { syncOffsetBytes: offset, syncid } });
      expect(decision.label.diskFlags.synchronizing).toBe(true);
    },
  );
});

describe('the label on entering a state', () => {
  const claims = [false, true];
  const labels = claims.flatMap((synchronizing) =>
    claims.flatMap((forceSync) =>
      claims.flatMap((isDirty) =>
        claims.map((noFailSync) =>
          aLabel({
            syncOffsetBytes: 4096,
            diskFlags: { ...NO_DISK_FLAGS, synchronizing, forceSync, dirty: isDirty },
            mirrorFlags: { ...NO_MIRROR_FLAGS, noFailSync },
          }),
        ),
      ),
    ),
  );

  test.each(claims)('ACTIVE has nothing of a synchronization, and DIRTY only in use (idle: %s)', (isIdle) => {
    for (const label of labels) {
      const { diskFlags, mirrorFlags, syncOffsetBytes } = enterState(label, 'ACTIVE', { isIdle });
      expect(diskFlags.synchronizing).toBe(false);
      expect(diskFlags.forceSync).toBe(label.diskFlags.forceSync && !label.diskFlags.synchronizing);
      expect(diskFlags.dirty).toBe(!isIdle && !mirrorFlags.noFailSync);
      expect(syncOffsetBytes).toBe(0);
    }
  });

  test('STALE is not DIRTY, SYNCHRONIZING is unless NOFAILSYNC, and both keep all else', () => {
    for (const label of labels) {
      const { diskFlags } = label;
      expect(enterState(label, 'STALE', { isIdle: false })).toEqual({
        ...label,
        diskFlags: { ...diskFlags, dirty: false },
      });
      expect(enterState(label, 'SYNCHRONIZING', { isIdle: true })).toEqual({
        ...label,
        diskFlags: { ...diskFlags, dirty: !label.mirrorFlags.noFailSync },
      });
    }
  });

  test.each([
    { insertedInto: '02-inserted-noautosync', component: 'b', fate: 'STALE' },
    { insertedInto: '08-inserted-third-synchronizing', component: 'c', fate: 'SYNCHRONIZING' },
  ] as const)('is what the real kernel wrote at $insertedInto', ({ insertedInto, component, fate }) => {
    const written = decodeLabel(kernelSector(`${insertedInto}.${component}`));
    const { genid, syncid, mirrorFlags } = decodeLabel(kernelSector(`${insertedInto}.a`));
    // As `gmirror insert` makes it.
    const inserted: GmirrorLabel = { ...written, syncid: 0, diskFlags: NO_DISK_FLAGS };
    const mirror = { genid, syncid, activeCount: 1, noAutoSync: mirrorFlags.noAutoSync };
    for (const rules of ['kernel', 'ours'] as const) {
      const decision = decideComponent(inserted, mirror, rules);
      expect(decision.fate).toBe(fate);
      expect(enterState(decision.label, fate, { isIdle: true })).toEqual(written);
    }
  });
});
