import type { Superblock, Uuid } from '../../protocol/superblock.js';

/** What is known of a component that is there when a mirror starts. */
export interface PresentComponent {
  /** As the administrator gave it. */
  readonly name: string;
  readonly isLocal: boolean;
  /** 0 to 255, higher is preferred. */
  readonly priority: number;
  readonly superblock: Superblock;
  /** Of its label, as it is now. */
  readonly genid: number;
  readonly syncid: number;
  /** Who changed it since we did: 'label' for one that the kernel's gmirror ran, 'image' for a file that was written. */
  readonly touch: 'label' | 'image' | null;
  /** Its label says INACTIVE: a person has taken it out of use. */
  readonly isInactive: boolean;
  /** Its label says NOFAILSYNC: who was in step when the run before crashed counts as in step still. */
  readonly noFailSync: boolean;
}

export interface AssemblyInput {
  readonly present: readonly PresentComponent[];
  /** Start although components are missing. */
  readonly isDegradedAllowed: boolean;
  /** The slot of a component that is there and whose data a person has chosen. */
  readonly preferredSource?: number;
}

export interface BehindComponent {
  readonly slot: number;
  /** Copy everything; else what the source has marked for it, and what the log tells after a crash. */
  readonly isFull: boolean;
}

export type AssemblyDecision =
  | {
      readonly outcome: 'refuse';
      readonly code: 'ASSEMBLE_MISSING' | 'ASSEMBLE_SPLIT_BRAIN' | 'ASSEMBLE_NO_SOURCE' | 'ASSEMBLE_FOREIGN';
      readonly message: string;
    }
  | {
      readonly outcome: 'run';
      /** Slots. The source is the one whose superblock, log and bitmaps are the mirror's. */
      readonly source: number;
      /** In step with the source, which is among them. */
      readonly active: readonly number[];
      /** They are there, and must be copied to. */
      readonly behind: readonly BehindComponent[];
      /** Not there, or left out; whoever is not full has bitmap and log, as those that are behind. */
      readonly missing: readonly BehindComponent[];
      /** Slots of `missing` that are out of use. */
      readonly inactive: readonly number[];
      /** The run before has crashed: what is in the log counts as marked for everyone but the source. */
      readonly isCrashed: boolean;
      /** The generation at which each slot was lost; NO_UUID for those in step. */
      readonly lostAt: readonly Uuid[];
      /** Someone falls behind who was in step as far as the source knew: a new generation begins. */
      readonly beginsGeneration: boolean;
    };

export type Refusal = Extract<AssemblyDecision, { outcome: 'refuse' }>;
