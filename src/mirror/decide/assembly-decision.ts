import { assert } from '../../protocol/errors.js';
import { NO_UUID } from '../../protocol/superblock.js';
import type {
  AssemblyDecision,
  AssemblyInput,
  BehindComponent,
  PresentComponent,
  Refusal,
} from './assembly-facts.js';
import { knows } from './pair-facts.js';
import { decidePair, mustHear, needsAll, type PairDecision } from './pair-table.js';
import { foreign, missingRefusal, noSource, splitBrain } from './refusals.js';

export type { AssemblyDecision, AssemblyInput, BehindComponent, PresentComponent } from './assembly-facts.js';

/**
 * Who is copied to whom when a mirror starts: the table of pairs, for the one component that may be the source for all
 * others. Changes nothing. `present` is not empty.
 */
export function decideAssembly(input: AssemblyInput): AssemblyDecision {
  const { present, discarded = [], preferredSource } = input;
  const misfit = misfitOf(present);
  if (misfit !== null) return misfit;
  const used = present.filter((one) => !isOutOfUse(one));
  if (preferredSource !== undefined) return runFrom(preferredSource, used, input);
  if (used.length === 0) return noSource(present, 'is deactivated');
  const whole = used.filter(({ superblock }) => !superblock.isInconsistent);
  if (whole.length === 0) return runMixture(used, input);
  const isKept = ({ superblock: { slot } }: PresentComponent): boolean => !discarded.includes(slot);
  const kept = whole.filter(isKept);
  const leaders = kept.filter((one) =>
    present.every((other) => other === one || mayLead(one, other, isKept(other))),
  );
  const [source] = [...leaders].sort(preference);
  if (source !== undefined) return membersMisfit(source, present, leaders) ?? run(source, input);
  const split = splitPair(kept);
  return split === null ? noSource(whole, 'misses writes that another component has') : splitBrain(...split);
}

/** A person has said whose data wins: everything is copied from there to all others, whatever they are. */
function runFrom(slot: number, used: readonly PresentComponent[], input: AssemblyInput): AssemblyDecision {
  const source = input.present.find(({ superblock }) => superblock.slot === slot);
  assert(source !== undefined, 'assembly: a source that is not there');
  if (!used.includes(source)) return noSource([source], 'is deactivated');
  if (source.superblock.isInconsistent) return noSource([source], IS_MIXTURE);
  return membersMisfit(source, input.present, []) ?? run(source, input);
}

/** Only alone: of two mixtures nothing tells which one has more of their source. */
function runMixture(used: readonly PresentComponent[], input: AssemblyInput): AssemblyDecision {
  const [source] = used;
  const isAlone = source !== undefined && input.present.length === 1;
  if (isAlone && input.isMixtureAllowed === true) return run(source, input);
  return noSource(used, IS_MIXTURE, isAlone ? MIXTURE_WAY : '');
}

const MIXTURE_WAY =
  ", or, if that is lost for good, from this one as it is, with 'ggmirror promote --inconsistent'";

const IS_MIXTURE = 'was being copied to, and is a mixture of old and new';

/** Whether a component calls itself out of use. */
const isOutOfUse = ({ superblock, isInactive }: PresentComponent): boolean =>
  isInactive || superblock.slots[superblock.slot]?.isInactive === true;

/** Whether `one` would copy to the other, as far as it knows. */
const isInUse = (other: PresentComponent, one: PresentComponent): boolean =>
  !isOutOfUse(other) && one.superblock.slots[other.superblock.slot]?.isInactive !== true;

/** Whether `one` may be the source where the other is there, too. */
function mayLead(one: PresentComponent, other: PresentComponent, isKept: boolean): boolean {
  const { source, refusal } = decidePair(one, other);
  // What somebody does with one that is out of use makes nobody outdated; what its superblock knows may.
  if (!isInUse(other, one) && other.touch !== null) return true;
  if (source === 'peer' || refusal === 'no source') return false;
  return refusal === null || !isKept || !isInUse(other, one) || !knows(one, other);
}

/** Who is a component is what the newest superblock says: an older one may not know who came since, or who went. */
function membersMisfit(
  source: PresentComponent,
  present: readonly PresentComponent[],
  leaders: readonly PresentComponent[],
): Refusal | null {
  const gone = present.find((one) => !knows(source, one));
  if (gone !== undefined) return noMember(gone, source);
  // Of two that were written without one another, one may have been removed before that.
  const other = leaders.find((one) => !knows(one, source));
  return other === undefined ? null : noMember(source, other);
}

const noMember = (one: PresentComponent, says: PresentComponent): Refusal =>
  foreign(`${one.name} is no component any more, says ${says.name}; start the mirror without it`);

function splitPair(whole: readonly PresentComponent[]): [PresentComponent, PresentComponent] | null {
  for (const [index, one] of whole.entries()) {
    const other = whole
      .slice(index + 1)
      .find((candidate) => decidePair(one, candidate).refusal === 'split brain');
    if (other !== undefined) return [one, other];
  }
  return null;
}

/** Whoever was written while it could not be flushed last; local before remote; then as gmirror prefers. */
function preference(one: PresentComponent, other: PresentComponent): number {
  return (
    Number(isSuspect(one)) - Number(isSuspect(other)) ||
    Number(other.isLocal) - Number(one.isLocal) ||
    other.priority - one.priority ||
    one.superblock.slot - other.superblock.slot
  );
}

/** It can't flush, or may have failed to, so what it was sent may be gone. */
const isSuspect = ({ superblock, isFlushDoubtful }: PresentComponent): boolean =>
  isFlushDoubtful || superblock.slots[superblock.slot]?.isMarked === true;

function run(source: PresentComponent, input: AssemblyInput): AssemblyDecision {
  const { present, isDegradedAllowed, isMissingUsed = false, preferredSource } = input;
  const { slots, current } = source.superblock;
  const missing: BehindComponent[] = [];
  const inactive: number[] = [];
  const behind: BehindComponent[] = [];
  const active = [source.superblock.slot];
  const isChosen = preferredSource === source.superblock.slot;
  const isMixture = source.superblock.isInconsistent;
  // No bitmap tells what has to be copied.
  const isOutside = source.touch !== null || isChosen || isMixture;
  let isSplit = false;
  const lostAt = slots.map((record) => record.lostAt).with(source.superblock.slot, NO_UUID);
  for (const [slot, record] of slots.entries()) {
    if (record.componentUuid === NO_UUID || slot === source.superblock.slot) continue;
    const found = present.find(({ superblock }) => superblock.slot === slot);
    if (found === undefined || !isInUse(found, source)) {
      const isNew = record.lostAt === NO_UUID;
      missing.push({ slot, isFull: record.isFull || isOutside, isUnheard: record.isUnheard || isNew });
      // One that was to be put out of use, and was never lost, may have gone on without those that were told of it.
      if (found !== undefined || (record.isInactive && !isNew)) inactive.push(slot);
      if (isNew) lostAt[slot] = current;
      continue;
    }
    const decision = source.noFailSync
      ? decidePair(asEnded(source), asEnded(found))
      : decidePair(source, found);
    if (!isChosen && decision.source === 'none') {
      active.push(slot);
      continue;
    }
    isSplit ||= decision.refusal === 'split brain';
    behind.push(behindOf(source, found, isChosen ? null : decision));
    lostAt[slot] = found.superblock.current;
  }
  const unexpected = missing.filter(({ slot }) => !inactive.includes(slot));
  if (unexpected.length > 0 && !isDegradedAllowed) return missingRefusal(source, unexpected, isMissingUsed);
  const outcome = { outcome: 'run', source: source.superblock.slot, beginsGeneration: isOutside } as const;
  // They may have got something from one that is given up, of which nobody here will know.
  const unsure = isSplit ? missing.map((one) => ({ ...one, isUnheard: true })) : missing;
  return { ...outcome, isMixture, active, behind, missing: unsure, inactive, lostAt };
}

/** As if the run before had not crashed. */
const asEnded = (one: PresentComponent): PresentComponent => ({
  ...one,
  superblock: { ...one.superblock, isRunning: false },
});

/** `decision` is null where a person has chosen the source. */
function behindOf(
  source: PresentComponent,
  target: PresentComponent,
  decision: PairDecision | null,
): BehindComponent {
  const { slot } = target.superblock;
  const isFull = decision?.copy !== 'marks' || needsAll(source, slot);
  return { slot, isFull, isUnheard: decision?.refusal === 'split brain' || mustHear(source, slot) };
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
      return foreign(
        `${one.name} and ${first.name} disagree about the size of their mirror, and both were used since it was resized; ` +
          "start it with one of them and '--degraded', and take the other one in anew with 'forget' and 'insert --force'",
      );
    }
    const twin = present.slice(0, index).find(({ superblock }) => superblock.componentUuid === componentUuid);
    if (twin !== undefined) {
      return foreign(`${one.name} and ${twin.name} are the same component, or one is a copy of the other`);
    }
  }
  return null;
}
