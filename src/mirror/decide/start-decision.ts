import { assert } from '../../protocol/errors.js';
import { compareFreshness, type KernelEra } from '../../protocol/gmirror-checks.js';
import type { GmirrorLabel } from '../../protocol/gmirror-label.js';
import { listOrder } from '../list-order.js';
import { decideComponent, type ComponentDecision, type Rules } from './component-decision.js';

export interface StartInput {
  /** Of the components that are there and were not refused (see gmirror-checks.ts), in order of arrival. */
  readonly labels: readonly GmirrorLabel[];
  /** The time to wait for missing components is over. */
  readonly isForced: boolean;
  readonly era: KernelEra;
  readonly rules: Rules;
}

export type StartDecision =
  /** Not all components are there yet. */
  | { readonly outcome: 'wait' }
  /** There is no mirror; all components are left as they are. */
  | { readonly outcome: 'destroy'; readonly reason: string }
  | {
      readonly outcome: 'run';
      readonly genid: number;
      readonly syncid: number;
      /** The syncid grows by one before the first write is sent. */
      readonly bumpsAtFirstWrite: boolean;
      /** In the order of the labels. */
      readonly components: readonly ComponentDecision[];
    };

const BROKEN = 'is broken: its mirror went on without it';

/** How many of the components that could be good are DIRTY. */
export type DirtyShare = 'none' | 'all' | 'some';

export interface MasterRow {
  readonly dirty: DirtyShare;
  /** Which of them keep their syncid; the others count as having 0, so everything is copied to them. */
  readonly keeps: 'all' | 'the first dirty one' | 'the clean ones';
}

/** Who is good at a start. Source: gmirror metadata spec, section 5, step 5; FreeBSD 12.1 g_mirror_update_device. */
export const MASTER_ROWS: readonly MasterRow[] = [
  { dirty: 'none', keeps: 'all' },
  { dirty: 'all', keeps: 'the first dirty one' },
  { dirty: 'some', keeps: 'the clean ones' },
];

export const dirtyShare = (dirtyCount: number, count: number): DirtyShare =>
  dirtyCount === 0 ? 'none' : dirtyCount === count ? 'all' : 'some';

/**
 * What a mirror does with the components that it has found, in gmirror's state STARTING. Source: gmirror metadata spec,
 * section 5. An outcome 'run' has at least one ACTIVE component.
 */
export function decideStart(input: StartInput): StartDecision {
  const { labels, isForced, era, rules } = input;
  const leader = era === 'FreeBSD 14' ? newest(labels) : labels[0];
  if (leader === undefined)
    return isForced ? { outcome: 'destroy', reason: 'no component came' } : { outcome: 'wait' };
  const early = era === 'FreeBSD 14' ? labels.filter((label) => fits(label, leader)) : labels;
  if (early.length !== leader.all && !isForced) return { outcome: 'wait' };
  if (isForced && early.every(({ diskFlags }) => diskFlags.synchronizing)) {
    return { outcome: 'destroy', reason: 'every component was being synchronized, so none is whole' };
  }

  const genid = maximum(early.map((label) => label.genid));
  const present = early.filter((label) => label.genid === genid);
  const syncid = maximum(present.map((label) => label.syncid));
  const outdated = outdatedOf(present, syncid);
  const { noAutoSync } = leader.mirrorFlags;
  const components = labels.map((label): ComponentDecision => {
    if (!present.includes(label)) {
      const reason = label.genid < genid ? BROKEN : 'disagrees with the newest component about the mirror';
      return { fate: 'DROPPED', label, reason };
    }
    const counted = outdated.has(label) ? { ...label, syncid: 0 } : label;
    return decideComponent(counted, { genid, syncid, activeCount: 0, noAutoSync }, rules);
  });
  if (!components.some(({ fate }) => fate === 'ACTIVE')) {
    return { outcome: 'destroy', reason: 'no component is whole and as new as the newest' };
  }
  const hasBroken = present.length < labels.length;
  const hasStale = components.some(({ fate }) => fate === 'STALE');
  return { outcome: 'run', genid, syncid, bumpsAtFirstWrite: isForced || hasBroken || hasStale, components };
}

/** Components with the mirror's syncid that may not be taken as good all the same. */
function outdatedOf(present: readonly GmirrorLabel[], syncid: number): ReadonlySet<GmirrorLabel> {
  const candidates = listOrder(present.map(({ priority }) => priority))
    .map((index) => present[index])
    .filter((label) => label !== undefined)
    .filter((label) => label.syncid === syncid && !label.diskFlags.synchronizing);
  const isDirty = ({ diskFlags }: GmirrorLabel): boolean => diskFlags.dirty;
  const share = dirtyShare(candidates.filter(isDirty).length, candidates.length);
  const row = MASTER_ROWS.find(({ dirty }) => dirty === share);
  assert(row !== undefined, `start decision: no row for ${share}`);
  if (row.keeps === 'all') return new Set();
  return new Set(row.keeps === 'the clean ones' ? candidates.filter(isDirty) : candidates.slice(1));
}

/** FreeBSD 14 throws out, before it counts, what is broken and what disagrees with the newest label. */
const fits = (label: GmirrorLabel, leader: GmirrorLabel): boolean =>
  label.genid === leader.genid &&
  label.mediaSizeBytes === leader.mediaSizeBytes &&
  label.all === leader.all &&
  label.sliceBytes === leader.sliceBytes &&
  label.balance === leader.balance;

/** The first of those that no other one is newer than. */
const newest = (labels: readonly GmirrorLabel[]): GmirrorLabel | undefined =>
  labels.find((label) => labels.every((other) => compareFreshness(other, label) <= 0));

const maximum = (values: readonly number[]): number =>
  values.reduce((most, value) => Math.max(most, value), 0);
