import type { Clock } from '../../device/clock.js';
import type { RandomSource } from '../../device/random.js';
import type { BalanceAlgorithm } from '../balance.js';
import type { Component } from '../component.js';
import type { SplitBrainPolicy } from '../decide/split-brain-policy.js';
import type { Membership } from '../members/membership.js';
import type { Arrival, Mirror, MirrorEvents } from '../mirror.js';
import type { ProviderOpener } from '../area/provider.js';

export type { ImageTime, OpenedProvider, ProviderOpener } from '../area/provider.js';

export interface AssembleOptions {
  /** Of the mirror. */
  readonly name: string;
  /** 1 to 8. */
  readonly providers: readonly ProviderOpener[];
  /** Start although components are missing. */
  readonly degraded: boolean;
  /** Name of the provider whose data a person has chosen: all others are overwritten in full. Null, or left out: nobody. */
  readonly source?: string | null;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly events: MirrorEvents;
  /** Left out: what the label says. */
  readonly balance?: BalanceAlgorithm;
  /** Of the split algorithm; left out: what the label says. */
  readonly sliceBytes?: number;
  readonly timeoutMs: number;
  readonly idleMs: number;
  readonly extentsMax: number;
  readonly isAutosync: boolean;
  /** 0 for no limit. */
  readonly resyncBytesPerSecond: number;
  /** What is done about a split brain of which both sides tell what differs. Left out: 'disconnect'. */
  readonly afterSplitBrain?: SplitBrainPolicy;
  /** See MirrorOptions. */
  readonly isUnsafeFlushWanted?: boolean;
  /** Names of providers whose own writes a person has given up, to settle a split brain; an error where there is none. */
  readonly discard?: readonly string[];
  /** Start from a component that a resync to it has left as a mixture, if it is the only one that is there. Left out: no. */
  readonly allowsMixture?: boolean;
  /**
   * Resolve only when those that are behind have their own accounts of that, and their resyncs run. Those in step have
   * theirs in any case. Left out: yes.
   */
  readonly waitsForResyncs?: boolean;
  /** Called when it is decided who is copied to whom, before anything is written; what it rejects with ends the start. */
  readonly approve?: (plan: StartPlan) => Promise<void> | void;
}

/** Who is copied to whom. */
export interface StartPlan {
  /** In step with each other, the source first. */
  readonly kept: readonly string[];
  readonly overwritten: readonly { readonly name: string; readonly copyBytes: number }[];
  /** What the source may have lost, for people; null if nothing. */
  readonly doubt: string | null;
}

export interface AssembledMirror {
  readonly mirror: Mirror;
  readonly members: Membership;
  /**
   * Opens one component again, after a loss: what Mirror.arrive() needs. Rejects with DeviceError, or with AssembleError
   * if what is there now has no label or private area that could be believed.
   */
  reopen(component: Component): Promise<Arrival>;
  /**
   * Looks at a component that somebody else uses, without a change to it: for Returns.look(), which closes its media. Null
   * where that can't be. Rejects with DeviceError.
   */
  look(component: Component): Promise<Arrival | null>;
  /** How its components are reached, in the order of their slots; but for those that nobody has named. */
  readonly openers: () => readonly ProviderOpener[];
  /** Ends the mirror cleanly. Safe to call twice. */
  close(): Promise<void>;
}

export type AssembleErrorCode =
  /** Components are missing, and `degraded` was not given. */
  | 'ASSEMBLE_MISSING'
  /** Two components were written without one another. */
  | 'ASSEMBLE_SPLIT_BRAIN'
  /** Somebody was to be given up where nobody has to be. */
  | 'ASSEMBLE_NO_SPLIT_BRAIN'
  /** No component can be the source. */
  | 'ASSEMBLE_NO_SOURCE'
  /** Given by `approve`: the only source that is there may have lost what was written to it last. */
  | 'ASSEMBLE_DOUBTFUL'
  /** A label or private area is none, damaged or another mirror's. */
  | 'ASSEMBLE_FOREIGN';

/** The mirror can't be started as it is; the message says what to do. Nothing was written. */
export class AssembleError extends Error {
  override readonly name = 'AssembleError';
  constructor(
    readonly code: AssembleErrorCode,
    message: string,
    options?: ErrorOptions,
    /** Of ASSEMBLE_MISSING: who is missing was in step when the run before crashed, and may have gone ahead since. */
    readonly isAfterCrash = false,
  ) {
    super(message, options);
  }
}
