import type { Superblock, Uuid } from '../../protocol/superblock.js';
import type { Side } from './pair-facts.js';

/** What is known of a component that is there when a mirror starts. */
export interface PresentComponent extends Side {
  /** As the administrator gave it. */
  readonly name: string;
  readonly isLocal: boolean;
  /** 0 to 255, higher is preferred. */
  readonly priority: number;
  readonly superblock: Superblock;
  /** Its label says INACTIVE: a person has taken it out of use. */
  readonly isInactive: boolean;
  /** Its label says NOFAILSYNC: who was in step when the run before crashed counts as in step still. */
  readonly noFailSync: boolean;
  /** A flush of it may have failed when nobody was left to note it: see FlushNote. */
  readonly isFlushDoubtful: boolean;
}

export interface AssemblyInput {
  readonly present: readonly PresentComponent[];
  /** Start although components are missing. */
  readonly isDegradedAllowed: boolean;
  /** Somebody else uses one that is missing, which may be the mirror itself, on another machine. Left out: nobody. */
  readonly isMissingUsed?: boolean;
  /** Slots of components that are there, and whose changes a person has given up, should there be a split brain. */
  readonly discarded?: readonly number[];
  /** The slot of a component that is there and whose data a person has chosen. */
  readonly preferredSource?: number;
  /**
   * A person knows that the only component that is there is a mixture of old and new, and that its source is lost. Left
   * out: it is no source.
   */
  readonly isMixtureAllowed?: boolean;
}

export interface BehindComponent {
  readonly slot: number;
  /** Copy everything; else what is marked for it: see docs/generations.md, "How much is copied". */
  readonly isFull: boolean;
  /** Its own log and bitmaps count too. Of one that is missing: they will, when it comes. */
  readonly isUnheard: boolean;
}

export type AssemblyDecision =
  | {
      readonly outcome: 'refuse';
      readonly code: 'ASSEMBLE_MISSING' | 'ASSEMBLE_SPLIT_BRAIN' | 'ASSEMBLE_NO_SOURCE' | 'ASSEMBLE_FOREIGN';
      readonly message: string;
      /** Of a split brain: slots of two components that can't both be kept. */
      readonly split: readonly [number, number] | null;
      /** Who is missing was in step when the run before crashed: it may have gone ahead since. */
      readonly isAfterCrash?: boolean;
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
      /** The generation at which each slot was lost; NO_UUID for those in step. */
      readonly lostAt: readonly Uuid[];
      /** The source's data is no generation that anybody knows: a new one begins at once. */
      readonly beginsGeneration: boolean;
      /** The source is a mixture: it has a history of its own from now on, in which nobody is known to be older. */
      readonly isMixture: boolean;
    };

export type Refusal = Extract<AssemblyDecision, { outcome: 'refuse' }>;
