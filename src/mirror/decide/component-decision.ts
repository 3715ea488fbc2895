import { assert } from '../../protocol/errors.js';
import { compareFreshness } from '../../protocol/gmirror-checks.js';
import type { GmirrorLabel } from '../../protocol/gmirror-label.js';

/** What becomes of a component that arrives: a state of gmirror's, or it is left out and its disk untouched. */
export type ComponentFate = 'ACTIVE' | 'SYNCHRONIZING' | 'STALE' | 'DROPPED';

/** Everything that decides it. */
export interface ComponentFacts {
  /** Of the component, against the mirror's. */
  readonly syncid: 'equal' | 'smaller' | 'greater';
  readonly isSynchronizing: boolean;
  /** It is DIRTY, and another one is ACTIVE already. At a start there is none yet, and start-decision has seen to it. */
  readonly isLateDirty: boolean;
  /** NOAUTOSYNC without FORCE_SYNC: nothing is copied until a person says so. */
  readonly waitsForPerson: boolean;
}

export interface ComponentRow {
  readonly when: { readonly [Fact in keyof ComponentFacts]: ComponentFacts[Fact] | 'any' };
  readonly fate: ComponentFate;
  /** The label gets SYNCHRONIZING, offset 0 and the mirror's syncid; else it stays, and so does its offset. */
  readonly restarts: boolean;
  readonly reason: string;
}

/**
 * What the kernel does; every combination of facts meets exactly one row. Source: gmirror metadata spec, section 6;
 * FreeBSD 12.1 g_mirror.c, g_mirror_determine_state.
 */
export const KERNEL_COMPONENT_ROWS: readonly ComponentRow[] = [
  {
    when: { syncid: 'equal', isSynchronizing: false, isLateDirty: false, waitsForPerson: 'any' },
    fate: 'ACTIVE',
    restarts: false,
    reason: 'is as new as its mirror',
  },
  {
    when: { syncid: 'equal', isSynchronizing: true, isLateDirty: 'any', waitsForPerson: false },
    fate: 'SYNCHRONIZING',
    restarts: false,
    reason: 'was being synchronized',
  },
  {
    when: { syncid: 'equal', isSynchronizing: false, isLateDirty: true, waitsForPerson: false },
    fate: 'SYNCHRONIZING',
    restarts: false,
    reason: 'was in use when it was lost',
  },
  {
    when: { syncid: 'equal', isSynchronizing: true, isLateDirty: 'any', waitsForPerson: true },
    fate: 'STALE',
    restarts: false,
    reason: 'was being synchronized, and waits to be rebuilt',
  },
  {
    when: { syncid: 'equal', isSynchronizing: false, isLateDirty: true, waitsForPerson: true },
    fate: 'STALE',
    restarts: false,
    reason: 'was in use when it was lost, and waits to be rebuilt',
  },
  {
    when: { syncid: 'smaller', isSynchronizing: 'any', isLateDirty: 'any', waitsForPerson: false },
    fate: 'SYNCHRONIZING',
    restarts: true,
    reason: 'misses writes',
  },
  {
    when: { syncid: 'smaller', isSynchronizing: 'any', isLateDirty: 'any', waitsForPerson: true },
    fate: 'STALE',
    restarts: true,
    reason: 'misses writes, and waits to be rebuilt',
  },
  {
    when: { syncid: 'greater', isSynchronizing: 'any', isLateDirty: 'any', waitsForPerson: 'any' },
    fate: 'DROPPED',
    restarts: false,
    reason: 'is newer than its mirror, which was started without it',
  },
];

/**
 * What we do: the same fates, and a label that never says less than the truth. It is one that the kernel understands.
 *
 * - The kernel leaves a late DIRTY component without SYNCHRONIZING while it is copied to. If all components are DIRTY
 *   after a crash then, the half-copied one may have the highest priority and be taken for the good one.
 * - Left STALE it even loses its DIRTY, so if nothing is written until the next start, it is ACTIVE as it is.
 * - The kernel goes on at a stored offset also where a read had failed and the mirror was written since, below it.
 *
 * All three are derived from the specification, not seen.
 */
export const OUR_COMPONENT_ROWS: readonly ComponentRow[] = KERNEL_COMPONENT_ROWS.map((row) => ({
  ...row,
  restarts: row.fate === 'SYNCHRONIZING' || row.fate === 'STALE',
}));

/** Finds the one row that the facts meet. */
export function componentRow(facts: ComponentFacts, rows: readonly ComponentRow[]): ComponentRow {
  const row = rows.find(({ when }) => meets(facts, when));
  assert(row !== undefined, `component decision: no row for ${JSON.stringify(facts)}`);
  return row;
}

export function meets(facts: ComponentFacts, when: ComponentRow['when']): boolean {
  return (Object.keys(when) as (keyof ComponentFacts)[]).every(
    (fact) => when[fact] === 'any' || when[fact] === facts[fact],
  );
}

/** The mirror that a component arrives at. */
export interface MirrorIds {
  readonly genid: number;
  readonly syncid: number;
  /** Components that are ACTIVE already; 0 while the mirror starts. */
  readonly activeCount: number;
  readonly noAutoSync: boolean;
}

/** Whose rules are followed: those of FreeBSD's gmirror, or ours. */
export type Rules = 'kernel' | 'ours';

export interface ComponentDecision {
  readonly fate: ComponentFate;
  /** As it is in memory from now on; `enterState` says what is written. */
  readonly label: GmirrorLabel;
  /** A clause whose subject is the component. */
  readonly reason: string;
}

/**
 * What becomes of a component whose label was not refused (see gmirror-checks.ts). The kernel compares syncids alone
 * here; we take a component of a later generation for newer as well, where the kernel would copy over it.
 */
export function decideComponent(label: GmirrorLabel, mirror: MirrorIds, rules: Rules): ComponentDecision {
  const { dirty, synchronizing, forceSync } = label.diskFlags;
  const difference = rules === 'kernel' ? label.syncid - mirror.syncid : compareFreshness(label, mirror);
  const facts: ComponentFacts = {
    syncid: difference === 0 ? 'equal' : difference < 0 ? 'smaller' : 'greater',
    isSynchronizing: synchronizing,
    isLateDirty: dirty && mirror.activeCount > 0,
    waitsForPerson: mirror.noAutoSync && !forceSync,
  };
  const row = componentRow(facts, rules === 'kernel' ? KERNEL_COMPONENT_ROWS : OUR_COMPONENT_ROWS);
  return {
    fate: row.fate,
    label: row.restarts ? restarted(label, mirror.syncid) : label,
    reason: row.reason,
  };
}

const restarted = (label: GmirrorLabel, syncid: number): GmirrorLabel => ({
  ...label,
  syncid,
  syncOffsetBytes: 0,
  diskFlags: { ...label.diskFlags, synchronizing: true },
});

/**
 * The label that a component carries once it is in a state. Writing it is the caller's; the kernel does so at once,
 * except that a synchronization that starts before the mirror is launched is not written down. Source: gmirror
 * metadata spec, sections 6 and 8; FreeBSD 12.1 g_mirror.c, g_mirror_update_disk.
 */
export function enterState(
  label: GmirrorLabel,
  state: Exclude<ComponentFate, 'DROPPED'>,
  mirror: { readonly isIdle: boolean },
): GmirrorLabel {
  const { diskFlags, mirrorFlags } = label;
  const mayBeDirty = !mirrorFlags.noFailSync;
  if (state === 'STALE') return { ...label, diskFlags: { ...diskFlags, dirty: false } };
  if (state === 'SYNCHRONIZING') return { ...label, diskFlags: { ...diskFlags, dirty: mayBeDirty } };
  return {
    ...label,
    syncOffsetBytes: 0,
    diskFlags: {
      ...diskFlags,
      synchronizing: false,
      forceSync: diskFlags.forceSync && !diskFlags.synchronizing,
      dirty: mayBeDirty && !mirror.isIdle,
    },
  };
}
