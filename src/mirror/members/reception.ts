import {
  judgeArrival,
  type ArrivalRefusal,
  type CopyWish,
  type RefusedArrival,
  type Verdict,
} from '../decide/arrival.js';
import type { Component } from '../component.js';
import { givenUp } from '../decide/split-brain-policy.js';
import type { Journal } from '../journal/journal.js';
import { hear, heardSlots, isStray, markEverything, ownAccount, type Marked } from '../journal/marks.js';
import type { Arrival, MirrorOptions } from '../mirror-options.js';
import { RegionBitmap } from '../area/region-bitmap.js';

/** What looking at a component that comes needs of its mirror. */
export interface ReceptionHost {
  readonly options: MirrorOptions;
  readonly journal: Journal;
  /** Those in step, at least one. */
  readonly active: readonly Component[];
}

const mayCome = ({ isWanted, isConnected }: Component): boolean => isWanted && !isConnected;

/**
 * Whether a component that comes is taken in. If so, all that it may miss is marked, in memory. Nothing of it is changed.
 * Rejects with DeviceError.
 */
export async function receive(
  component: Component,
  arrival: Arrival,
  host: ReceptionHost,
): Promise<'accept' | 'unwanted' | ArrivalRefusal> {
  if (!mayCome(component)) return 'unwanted';
  const { options } = host;
  const { superblock, media } = arrival;
  const { verdict, inStep } = await judge(component, arrival, host);
  if (verdict.outcome === 'foreign' || verdict.outcome === 'resized')
    return refuse(component, host, { outcome: verdict.outcome, copyBytes: null }, superblock.mediaSizeBytes);
  const decider = component.isDiscarded ? 'a person' : (options.afterSplitBrain ?? 'disconnect');
  if (verdict.outcome !== 'accept' && !component.isDiscarded) {
    const own = await ownAccount(media.store, inStep);
    const isGivenUp =
      verdict.outcome === 'split brain' && isGivenUpBy(component, arrival, own, verdict, host);
    if (!isGivenUp) {
      return refuse(component, host, {
        outcome: verdict.outcome,
        copyBytes: copyBytes(component, own, verdict),
      });
    }
  }
  const heard = verdict.outcome === 'accept' ? heardSlots(media.store, inStep) : inStep;
  if (verdict.isUnheard || isStray(media.store, inStep)) await hear(component, media.store, heard);
  // It may have been taken out of use meanwhile, or have come another way.
  if (!mayCome(component)) return 'unwanted';
  if (verdict.isFull) markEverything(component);
  if (verdict.outcome !== 'accept') {
    component.isDiscarded = true;
    options.events.changed('discarded', component, `as ${decider} has it`);
  }
  return 'accept';
}

/**
 * A component is used by somebody else, which may be its own mirror, run on another machine: if each was written without the
 * other, or it has what is missing here, that is said now, and not when they meet. Once, and taken back when it is not so
 * any more. Nothing of the component is changed. Rejects with DeviceError.
 */
export async function lookAt(component: Component, arrival: Arrival, host: ReceptionHost): Promise<void> {
  const { verdict, inStep } = await judge(component, arrival, host);
  const { outcome } = verdict;
  const before = component.refused?.outcome;
  if (outcome !== 'split brain' && outcome !== 'newer') {
    if (!component.isConnected) component.refused = null;
    return;
  }
  if (outcome === before) return;
  const own = await ownAccount(arrival.media.store, inStep);
  if (mayCome(component)) refuse(component, host, { outcome, copyBytes: copyBytes(component, own, verdict) });
}

async function judge(
  component: Component,
  { superblock, touch }: Arrival,
  host: ReceptionHost,
): Promise<{ readonly verdict: Verdict; readonly inStep: readonly number[] }> {
  const { options, journal } = host;
  // What is written down about it counts, and this may be the loss of it.
  await journal.lossesRecorded();
  const inStep = host.active.map(({ identity }) => identity.slot).sort((one, other) => one - other);
  const { genid, syncid } = superblock;
  const { slot, uuid: componentUuid } = component.identity;
  const verdict = judgeArrival(
    { superblock, touch, genid, syncid },
    {
      mirrorUuid: options.uuid,
      componentUuid,
      mediaSizeBytes: options.mediaSizeBytes,
      mirror: journal.side(inStep[0] ?? slot),
      isFull: component.isFull,
    },
  );
  return { verdict, inStep };
}

/** Whether the policy gives it up. What callers of this mirror have written is never given up under them. */
function isGivenUpBy(
  component: Component,
  { superblock }: Arrival,
  own: Marked,
  { isFull }: CopyWish,
  { options: { afterSplitBrain = 'disconnect' }, journal, active }: ReceptionHost,
): boolean {
  const self = {
    changedBytes: component.missing.markedBytes,
    wasStartedAlone: journal.slots[component.identity.slot]?.isUnheard === true,
  };
  const peer = {
    changedBytes: own.missing.markedBytes,
    wasStartedAlone: active.some(({ identity }) => superblock.slots[identity.slot]?.isUnheard === true),
  };
  return !isFull && givenUp(afterSplitBrain, self, peer) === 'peer';
}

/** `itsBytes`: the media size of its mirror, as it has it. */
function refuse(
  component: Component,
  { options }: ReceptionHost,
  refused: RefusedArrival,
  itsBytes = options.mediaSizeBytes,
): ArrivalRefusal {
  component.refused = refused;
  component.trouble = whyRefused(refused, component.name, options, itsBytes);
  options.events.changed(refused.outcome, component, component.trouble);
  return refused.outcome;
}

function whyRefused(
  { outcome }: RefusedArrival,
  name: string,
  { name: mirror, mediaSizeBytes }: MirrorOptions,
  itsBytes: number,
): string {
  const way = `'ggmirror resolve ${mirror} --discard ${name}' gives up what only it has`;
  switch (outcome) {
    case 'split brain':
      return `split brain: it was written without the others, and they without it; ${way}`;
    case 'newer':
      return `it has data that this mirror, which was started without it, misses; stop the mirror and start it with both, or ${way}`;
    case 'foreign':
      return 'it belongs to another mirror';
    case 'resized':
      return (
        `it was resized without this mirror: ${itsBytes} bytes, and the mirror has ${mediaSizeBytes}; stop the mirror ` +
        `and start it with both, or take it in anew with 'ggmirror forget ${mirror}' and 'ggmirror insert --force ${mirror} ${name}'`
      );
  }
}

function copyBytes({ missing }: Component, own: Marked, { isFull }: CopyWish): number {
  if (isFull) return missing.mediaSizeBytes;
  const both = new RegionBitmap(missing.mediaSizeBytes);
  both.union(missing);
  both.union(own.missing);
  return both.markedBytes;
}
