import { FREE_SLOT, NO_UUID, SLOT_COUNT, type SlotRecord, type Uuid } from '../../protocol/superblock.js';
import type { Component } from '../component.js';
import type { Side } from '../decide/pair-facts.js';
import type { LabelState, MirrorSettings, SuperblockChange } from '../area/meta-store.js';

/** What the mirror remembers across crashes, besides log and bitmaps. */
export interface JournalState {
  readonly current: Uuid;
  readonly history: readonly Uuid[];
  /** By slot: the generation that a component had when it was lost; NO_UUID while it is in step. */
  readonly lostAt: readonly Uuid[];
  /** Slots of components that were missing at a start: their own log and bitmaps count too when they come. */
  readonly unheard: readonly number[];
  readonly genid: number;
  readonly syncid: number;
}

/** What a superblock says of the mirror and its components. */
export type IdentityChange = Required<
  Pick<SuperblockChange, 'current' | 'history' | 'isRunning' | 'slots' | 'genid' | 'syncid'>
>;

/** One that has failed is known by its genid until all has been copied to it: see Component.isCacheDoubtful. */
export function stateFor({ isCacheDoubtful, state, store }: Component, ofMirror: JournalState): JournalState {
  if (state === 'ACTIVE' || !isCacheDoubtful) return ofMirror;
  return { ...ofMirror, genid: store.superblock.genid };
}

export interface TableFacts {
  readonly state: JournalState;
  /** Whose superblock it is for; null for nobody's. */
  readonly writer: Component | null;
  /** The generation that a component in step is known to have on stable storage. */
  readonly confirmed: (slot: number) => Uuid;
}

/** The table of components, as superblocks have it. */
export function slotTable(
  members: readonly Component[],
  { state, writer, confirmed }: TableFacts,
): SlotRecord[] {
  const slots: SlotRecord[] = Array.from({ length: SLOT_COUNT }, () => FREE_SLOT);
  for (const component of members) {
    const { slot, uuid } = component.identity;
    // A mixture is no source, whatever others have; and what it says of one that is would keep that from starting.
    // Whoever has failed to be told counts as lost there at once: a crash may come before that is noted.
    const isTold = component !== writer && writer?.state !== 'SYNCHRONIZING';
    const isEarly = isTold && confirmed(slot) !== state.current;
    const noted = state.lostAt[slot] ?? NO_UUID;
    const lostAt = noted === NO_UUID && isEarly ? confirmed(slot) : noted;
    const isSuspect = component.isConnected && !component.can.flush;
    // One that is in step has marks where a verify has found it to differ.
    const isMarked = lostAt !== NO_UUID || isSuspect || component.missing.countMarked > 0;
    slots[slot] = {
      componentUuid: uuid,
      lostAt,
      isMarked,
      isFull: component.isFull,
      isInactive: component.isInactive,
      isUnheard: state.unheard.includes(slot),
    };
  }
  return slots;
}

/** A running mirror as one of two that meet: the component in `slot`, which is ACTIVE, stands for it. */
export function sideOf(slot: number, state: JournalState, slots: readonly SlotRecord[]): Side {
  const { current, history, genid, syncid } = state;
  const flags = { isRunning: false, isInconsistent: false };
  const componentUuid = slots[slot]?.componentUuid ?? NO_UUID;
  const superblock = { slot, componentUuid, current, history, slots, ...flags, genid, syncid };
  return { superblock, genid, syncid, touch: null };
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
