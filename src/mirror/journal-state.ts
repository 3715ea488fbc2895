import { DeviceError } from '../device/block-device.js';
import { FREE_SLOT, NO_UUID, SLOT_COUNT, type SlotRecord, type Uuid } from '../protocol/superblock.js';
import type { Component } from './component.js';
import type { LabelState, MirrorSettings } from './meta-store.js';
import { RegionBitmap } from './region-bitmap.js';

/** What the mirror remembers across crashes, besides log and bitmaps. */
export interface JournalState {
  readonly current: Uuid;
  readonly history: readonly Uuid[];
  /** By slot: the generation that a component had when it was lost; NO_UUID while it is in step. */
  readonly lostAt: readonly Uuid[];
  readonly genid: number;
  readonly syncid: number;
}

/** The table of components, as superblocks have it. */
export function slotTable(members: readonly Component[], { lostAt }: JournalState): SlotRecord[] {
  const slots: SlotRecord[] = Array.from({ length: SLOT_COUNT }, () => FREE_SLOT);
  for (const component of members) {
    const { slot, uuid } = component.identity;
    const lost = lostAt[slot] ?? NO_UUID;
    const isSuspect = component.isConnected && !component.can.flush;
    // One that is in step has marks where a verify has found it to differ.
    const isMarked = lost !== NO_UUID || isSuspect || component.missing.countMarked > 0;
    slots[slot] = {
      componentUuid: uuid,
      lostAt: lost,
      isMarked,
      isFull: component.isFull,
      isInactive: component.isInactive,
    };
  }
  return slots;
}

export interface LabelFacts {
  readonly state: JournalState;
  readonly isRunning: boolean;
  readonly isSynchronizing: boolean;
  /** How many components the mirror has. */
  readonly all: number;
  readonly settings: MirrorSettings | null;
}

/** What the label of a component says. */
export function labelStateOf(
  { isInactive, settings: own }: Component,
  { state, isRunning, isSynchronizing, all, settings: ofMirror }: LabelFacts,
): LabelState {
  const { genid, syncid } = state;
  // As the kernel has it: who does not want to synchronize after a crash has no label that asks for it.
  const isDirty = isRunning && ofMirror?.noFailSync !== true;
  return { genid, syncid, isDirty, isSynchronizing, settings: { all, isInactive, ...ofMirror, ...own } };
}

/** What a component may miss, as the others are to remember it. */
export function bitmapOf(component: Component, mediaSizeBytes: number): RegionBitmap {
  if (!component.isConnected || component.can.flush) return component.missing;
  // What was written to a component that can't flush stays suspect for as long as it is there.
  const both = new RegionBitmap(mediaSizeBytes);
  both.union(component.missing);
  both.union(component.unflushed);
  return both;
}

/** Of a component's store; whatever it was becomes a DeviceError. */
export function toFailure(
  component: Component,
  reason: unknown,
): { component: Component; error: DeviceError } {
  const message = `${component.name}: its private area or label can't be written`;
  const error =
    reason instanceof DeviceError ? reason : new DeviceError('DEVICE_IO', 'EIO', message, { cause: reason });
  return { component, error };
}
