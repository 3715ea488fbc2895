import type { Clock } from '../device/clock.js';
import type { RandomSource } from '../device/random.js';
import type { Superblock, Uuid } from '../protocol/superblock.js';
import type { BalanceAlgorithm, BalanceOptions } from './balance.js';
import type { Component, ComponentIdentity, ComponentMedia } from './component.js';
import type { JournalState } from './journal/journal.js';
import type { MirrorSettings } from './area/meta-store.js';
import type { Touch } from './decide/pair-facts.js';
import type { SplitBrainPolicy } from './decide/split-brain-policy.js';

/** A component that can be talked to, as it comes to the mirror. */
export interface Arrival {
  readonly media: ComponentMedia;
  readonly superblock: Superblock;
  /** Somebody else changed its label or its image since we wrote them. */
  readonly touch: Touch;
}

export interface MirrorEvents {
  /** A component's state or the mirror's changed. For the log, status and hooks. */
  changed(what: string, component: Component, why: string | null): void;
}

/** How reads are answered. */
export type Reading = Pick<BalanceOptions, 'algorithm' | 'sliceBytes'>;

/** How the mirror works now: as its settings say, unless it was started otherwise. */
export interface Conduct extends Reading {
  /** The algorithm is what the labels say, and goes with them and with the components. */
  readonly isAsLabelled: boolean;
  /** Whether who comes back is resynced by itself, if the settings have nothing against it. */
  readonly isAutosync: boolean;
}

export interface MirrorOptions {
  readonly name: string;
  readonly uuid: Uuid;
  readonly mediaSizeBytes: number;
  readonly sectorSizeBytes: number;
  readonly components: readonly ComponentIdentity[];
  readonly journal: JournalState;
  /** Left out: what the settings say. */
  readonly balance?: BalanceAlgorithm;
  /** Of the split algorithm. */
  readonly sliceBytes: number;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly events: MirrorEvents;
  readonly extentsMax: number;
  /** A component that leaves a request unanswered for this long is dropped. */
  readonly timeoutMs: number;
  /** Without writes for this long, labels and superblocks are made clean. */
  readonly idleMs: number;
  /** Start resyncs of returned components by ourselves; unless the settings say otherwise. */
  readonly isAutosync: boolean;
  /** Left out: labels keep what they say, and nothing is NOAUTOSYNC or NOFAILSYNC. */
  readonly settings?: MirrorSettings;
  readonly resyncBytesPerSecond: number;
  /** Flushes are answered as good while no component in step can flush. Left out or false: they fail then. */
  readonly isUnsafeFlushWanted?: boolean;
  /** Left out: 'disconnect'. */
  readonly afterSplitBrain?: SplitBrainPolicy;
}
