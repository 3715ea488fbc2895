import { assert } from '../../protocol/errors.js';
import type { Component } from '../component.js';
import type { AssemblyDecision, BehindComponent } from '../decide/assembly-decision.js';
import {
  hear,
  heardSlots,
  isStray,
  markEverything,
  markExtents,
  markNoted,
  mayLackFlushed,
} from '../journal/marks.js';
import type { Mirror } from '../mirror.js';
import type { PresentProvider } from './assembly.js';

export type RunDecision = Extract<AssemblyDecision, { outcome: 'run' }>;

/** What each that is behind misses. Changes nothing outside of memory. */
export async function loadMarks(
  mirror: Mirror,
  found: readonly PresentProvider[],
  source: PresentProvider,
  decision: RunDecision,
): Promise<void> {
  for (const behind of [...decision.behind, ...decision.missing]) {
    await loadMissing(componentIn(mirror, behind.slot), behind, source);
  }
  await loadDoubts(componentIn(mirror, source.facts.superblock.slot), source);
  for (const { slot, isUnheard } of decision.behind) {
    const { store } = providerIn(found, slot);
    // The source stands for all that are in step: with it alone the decision was made.
    const inStep = [decision.source];
    if (!isUnheard && !isStray(store, inStep)) continue;
    await hear(componentIn(mirror, slot), store, heardSlots(store, inStep));
  }
}

/** What the source itself may not have flushed. */
async function loadDoubts(component: Component, { media, store, facts }: PresentProvider): Promise<void> {
  const { slot, isRunning } = facts.superblock;
  // Left by the run before in a cache, where a flush of this run may be the first that fails.
  const unflushed = { missing: component.unflushed, isFull: false };
  if (isRunning) markExtents(unflushed, store.readLog());
  // One that can't flush has noted all that it was sent, and no flush of this run will change that.
  if (!media.data.can.flush) await markNoted(unflushed, store, [slot]);
  if (!mayLackFlushed(media)) return;
  await markNoted(component, store, [slot]);
  component.missing.union(component.unflushed);
  component.isCacheDoubtful = true;
}

/** What the source knows. What it was sent itself and could not flush may be gone, and the others may have it. */
async function loadMissing(
  component: Component,
  { slot, isFull }: BehindComponent,
  { store, facts: { superblock } }: PresentProvider,
): Promise<void> {
  if (isFull) {
    // Whatever else is known: bitmaps of a large medium take a while to read.
    markEverything(component);
    return;
  }
  await markNoted(component, store, [slot, superblock.slot]);
  if (superblock.isRunning) markExtents(component, store.readLog());
}

export function providerIn(found: readonly PresentProvider[], slot: number): PresentProvider {
  const provider = found.find(({ facts }) => facts.superblock.slot === slot);
  assert(provider !== undefined, `assembly: slot ${slot} is not there`);
  return provider;
}

export function componentIn(mirror: Mirror, slot: number): Component {
  const component = mirror.components.find(({ identity }) => identity.slot === slot);
  assert(component !== undefined, `${mirror.name}: slot ${slot} is free`);
  return component;
}
