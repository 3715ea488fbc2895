import { assert } from '../../protocol/errors.js';
import { compareFreshness } from '../../protocol/gmirror-checks.js';
import { NO_UUID, type Uuid } from '../../protocol/superblock.js';
import type {
  AssemblyDecision,
  AssemblyInput,
  BehindComponent,
  PresentComponent,
  Refusal,
} from './assembly-facts.js';
import { foreign, missingRefusal, noSource, splitBrain } from './refusals.js';

export type { AssemblyDecision, AssemblyInput, BehindComponent, PresentComponent } from './assembly-facts.js';

/** How one component's data stands to another's, of the same mirror. */
export type Relation = 'same' | 'newer' | 'older' | 'unrelated';

/**
 * What is decided by the generations alone, for a component against one that is no older than any other:
 * - same generation, and nobody says that it is behind: in step;
 * - else it is older, and copied to. A component in the same generation is older too where the other one calls it behind:
 *   it was lost while its resync ended.
 * Source: DRBD's comparison of generation identifiers; docs/on-disk-format.md, "Superblock".
 */
export function relationOf(one: PresentComponent, other: PresentComponent): Relation {
  const isOlder = isBehind(one, other);
  const isNewer = isBehind(other, one);
  if (isOlder && isNewer) return 'unrelated';
  if (isOlder) return 'older';
  if (isNewer) return 'newer';
  return generationOf(one) === generationOf(other) ? 'same' : 'unrelated';
}

/** A component that was written without us is in a generation that no superblock has. */
function generationOf({ superblock, touch, genid, syncid }: PresentComponent): string {
  if (touch === 'label') return `of the kernel, ${genid}.${syncid}`;
  return touch === 'image' ? `of image ${superblock.componentUuid}` : superblock.current;
}

/** Whether `two` descends from what `one` has. */
function isBehind(one: PresentComponent, two: PresentComponent): boolean {
  if (one.touch !== null) {
    // The kernel's numbers tell which of two is newer only where it ran both.
    return one.touch === 'label' && two.touch === 'label' && compareFreshness(one, two) < 0;
  }
  const { current } = one.superblock;
  const { superblock } = two;
  if (two.touch !== null && superblock.current === current) return true;
  return superblock.history.includes(current) || lostAtOf(one, two) === current || callsBehind(two, one);
}

/** In one generation, the word of the one that went on counts. */
const callsBehind = (two: PresentComponent, one: PresentComponent): boolean =>
  two.superblock.current === one.superblock.current && lostAtOf(one, two) !== NO_UUID;

/** Where `two` says that `one` was lost; not what it says of another component that has its slot now. */
const lostAtOf = (one: PresentComponent, two: PresentComponent): Uuid =>
  knows(two, one) ? (two.superblock.slots[one.superblock.slot]?.lostAt ?? NO_UUID) : NO_UUID;

/** Whether `one` is a component, as far as `two` knows. */
const knows = (two: PresentComponent, one: PresentComponent): boolean =>
  two.superblock.slots[one.superblock.slot]?.componentUuid === one.superblock.componentUuid;

/** Whether a component calls itself out of use. */
const isOutOfUse = ({ superblock, isInactive }: PresentComponent): boolean =>
  isInactive || superblock.slots[superblock.slot]?.isInactive === true;

/** Who is copied to whom when a mirror starts. Changes nothing. `present` is not empty. */
export function decideAssembly({
  present,
  isDegradedAllowed,
  preferredSource,
}: AssemblyInput): AssemblyDecision {
  const misfit = misfitOf(present);
  if (misfit !== null) return misfit;
  const used = present.filter((one) => !isOutOfUse(one));
  const chosen = present.find(({ superblock }) => superblock.slot === preferredSource);
  if (chosen !== undefined) return runFrom(chosen, used, { present, isDegradedAllowed });
  if (used.length === 0) return noSource(present, 'is deactivated');
  const whole = used.filter(({ superblock }) => !superblock.isInconsistent);
  if (whole.length === 0) return noSource(used, 'was being copied to, and is a mixture of old and new');
  // What somebody does with one that is out of use makes nobody outdated; what its superblock knows may.
  const witnesses = present.filter((one) => used.includes(one) || one.touch === null);
  const newest = whole.filter((one) => !witnesses.some((other) => other !== one && isOutdatedBy(one, other)));
  const [source] = [...newest].sort(preference);
  if (source === undefined) {
    const split = splitPair(whole);
    return split === null
      ? noSource(whole, 'misses writes that another component has')
      : splitBrain(...split, used);
  }
  const misfits = membersMisfit(source, present, newest);
  if (misfits !== null) return misfits;
  const inUse = used.filter(
    ({ superblock }) => source.superblock.slots[superblock.slot]?.isInactive !== true,
  );
  const rival = newest.find((one) => inUse.includes(one) && relationOf(one, source) === 'unrelated');
  if (rival !== undefined) return splitBrain(source, rival, inUse);
  const stranger = strangerTo(source, inUse);
  if (stranger !== null) return splitBrain(source, stranger, inUse);
  const changed = inUse.find(({ touch }) => touch === 'image');
  if (changed !== undefined && inUse.length > 1) {
    return splitBrain(changed, otherThan(changed, inUse), inUse);
  }
  return run({ source, newest, inUse, present, isDegradedAllowed });
}

/** A person has said whose data wins: everything is copied from there to all others, whatever they are. */
function runFrom(
  source: PresentComponent,
  used: readonly PresentComponent[],
  { present, isDegradedAllowed }: AssemblyInput,
): AssemblyDecision {
  if (!used.includes(source)) return noSource([source], 'is deactivated');
  if (source.superblock.isInconsistent) {
    return noSource([source], 'was being copied to, and is a mixture of old and new');
  }
  const misfits = membersMisfit(source, present, []);
  if (misfits !== null) return misfits;
  const inUse = used.filter(
    ({ superblock }) => source.superblock.slots[superblock.slot]?.isInactive !== true,
  );
  return run({ source, newest: [source], inUse, present, isDegradedAllowed, isChosen: true });
}

/** Who is a component is what the newest superblock says: an older one may not know who came since, or who went. */
function membersMisfit(
  source: PresentComponent,
  present: readonly PresentComponent[],
  newest: readonly PresentComponent[],
): Refusal | null {
  const gone = present.find((one) => !knows(source, one));
  if (gone !== undefined) return noMember(gone, source);
  // Of two that were written without one another, one may have been removed before that.
  const other = newest.find((one) => !knows(one, source));
  return other === undefined ? null : noMember(source, other);
}

const noMember = (one: PresentComponent, says: PresentComponent): Refusal =>
  foreign(`${one.name} is no component any more, says ${says.name}; start the mirror without it`);

/** An inconsistent component's superblock tells who was left behind, too. */
const isOutdatedBy = (one: PresentComponent, other: PresentComponent): boolean =>
  other.superblock.isInconsistent
    ? one.touch === null &&
      lostAtOf(one, other) === one.superblock.current &&
      one.superblock.current !== other.superblock.current
    : relationOf(one, other) === 'older';

function splitPair(whole: readonly PresentComponent[]): [PresentComponent, PresentComponent] | null {
  for (const one of whole) {
    const other = whole.find((two) => two !== one && isBehind(one, two) && isBehind(two, one));
    if (other !== undefined) return [one, other];
  }
  return null;
}

/** Someone that went another way than the source, though it is newer than nobody. Mixtures are overwritten anyway. */
const strangerTo = (
  source: PresentComponent,
  present: readonly PresentComponent[],
): PresentComponent | null =>
  present.find(
    (one) => one !== source && !one.superblock.isInconsistent && relationOf(one, source) === 'unrelated',
  ) ?? null;

const otherThan = (one: PresentComponent, present: readonly PresentComponent[]): PresentComponent =>
  present.find((other) => other !== one) ?? one;

/** Whoever was written while it could not be flushed last; local before remote; then as gmirror prefers. */
function preference(one: PresentComponent, other: PresentComponent): number {
  return (
    Number(isSuspect(one)) - Number(isSuspect(other)) ||
    Number(other.isLocal) - Number(one.isLocal) ||
    other.priority - one.priority ||
    one.superblock.slot - other.superblock.slot
  );
}

/** It can't flush, so what it was sent may be gone. */
const isSuspect = ({ superblock }: PresentComponent): boolean =>
  superblock.slots[superblock.slot]?.isMarked === true;

interface RunInput extends AssemblyInput {
  readonly source: PresentComponent;
  readonly newest: readonly PresentComponent[];
  /** Of `present`. */
  readonly inUse: readonly PresentComponent[];
  /** The source was chosen by a person. */
  readonly isChosen?: boolean;
}

function run({
  source,
  newest,
  inUse,
  present,
  isDegradedAllowed,
  isChosen = false,
}: RunInput): AssemblyDecision {
  const { slots, isRunning, current } = source.superblock;
  const inactive: number[] = [];
  const missing: BehindComponent[] = [];
  const behind: BehindComponent[] = [];
  const active = [source.superblock.slot];
  // No bitmap tells what has to be copied.
  const isTouched = source.touch !== null || isChosen;
  const lostAt = slots.map((record) => record.lostAt);
  for (const [slot, record] of slots.entries()) {
    if (record.componentUuid === NO_UUID || slot === source.superblock.slot) continue;
    const component = inUse.find(({ superblock }) => superblock.slot === slot);
    const isPresent = present.some(({ superblock }) => superblock.slot === slot);
    const isFull = record.isFull || isTouched;
    if (component === undefined) {
      missing.push({ slot, isFull });
      if (isPresent || record.isInactive) inactive.push(slot);
      if (record.lostAt === NO_UUID) lostAt[slot] = current;
      continue;
    }
    const isInStep = !isRunning || source.noFailSync;
    if (newest.includes(component) && isInStep && !isFull && !record.isMarked) {
      active.push(slot);
      continue;
    }
    behind.push({ slot, isFull: isFull || !isMarkedBy(source, component) });
    lostAt[slot] = component.superblock.current;
  }
  const unexpected = missing.filter(({ slot }) => !inactive.includes(slot));
  if (unexpected.length > 0 && !isDegradedAllowed) return missingRefusal(source, unexpected);
  const isNewlyBehind = lostAt.some((at, slot) => at !== NO_UUID && slots[slot]?.lostAt === NO_UUID);
  // What the log of a component says that the kernel ran is older than what the kernel did; everything is copied.
  const isCrashed = isRunning;
  const beginsGeneration = isNewlyBehind || isTouched;
  return {
    outcome: 'run',
    source: source.superblock.slot,
    active,
    behind,
    missing,
    inactive,
    isCrashed,
    lostAt,
    beginsGeneration,
  };
}

/** Whether the bitmap of `source` tells all that `component` may miss. */
function isMarkedBy(source: PresentComponent, component: PresentComponent): boolean {
  if (component.touch !== null) return false;
  const { slots, current, history } = source.superblock;
  const { superblock } = component;
  const lostAt = slots[superblock.slot]?.lostAt ?? NO_UUID;
  if (superblock.current === lostAt || superblock.current === current) return true;
  // The last loss of the run was written down here, and a crash came before it was there.
  return lostAt === NO_UUID && superblock.current === history[0];
}

function misfitOf(present: readonly PresentComponent[]): Refusal | null {
  const [first] = present;
  assert(first !== undefined, 'assembly: no component');
  for (const [index, one] of present.entries()) {
    const { mirrorUuid, mediaSizeBytes, sectorSizeBytes, componentUuid } = one.superblock;
    const expected = first.superblock;
    if (mirrorUuid !== expected.mirrorUuid) {
      return foreign(`${one.name} and ${first.name} are components of different mirrors`);
    }
    if (mediaSizeBytes !== expected.mediaSizeBytes || sectorSizeBytes !== expected.sectorSizeBytes) {
      return foreign(`${one.name} and ${first.name} disagree about the size of their mirror`);
    }
    const twin = present.slice(0, index).find(({ superblock }) => superblock.componentUuid === componentUuid);
    if (twin !== undefined) {
      return foreign(`${one.name} and ${twin.name} are the same component, or one is a copy of the other`);
    }
  }
  return null;
}
