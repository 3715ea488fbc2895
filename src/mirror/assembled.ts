import type { BlockDevice } from '../device/block-device.js';
import type { Clock } from '../device/clock.js';
import type { RandomSource } from '../device/random.js';
import type { NewSuperblock } from './area-store.js';
import type { BalanceAlgorithm } from './balance.js';
import type { Component } from './component.js';
import type { Arrival, Mirror, MirrorEvents } from './mirror.js';

/** A provider as it was opened; whoever opened it no longer closes it. */
export interface OpenedProvider {
  /** The whole provider, private area and label included. */
  readonly device: BlockDevice;
  /** The file that holds the private area; null if it is on the provider. */
  readonly area: BlockDevice | null;
  /** Fails every request in flight at once; afterwards no buffer of a caller is touched. */
  readonly abandon?: () => void;
  /** For an area in a file that is not there yet; `area` is null then. */
  readonly newArea?: { readonly name: string; make(superblock: NewSuperblock): Promise<void> };
  /** Of an image file: when it was written; left out for everything else. */
  readonly image?: ImageTime;
}

/** When an image file was written last, in nanoseconds since 1970. Both reject with DeviceError. */
export interface ImageTime {
  modifiedNs(): Promise<bigint | null>;
  /** Until the next write. Durable when it resolves. */
  setModifiedNs(modifiedNs: bigint): Promise<void>;
}

/** How a provider of a mirror is reached; the mirror itself knows neither paths nor networks. */
export interface ProviderOpener {
  /** As the administrator gave it. */
  readonly name: string;
  readonly isLocal: boolean;
  /** 0 to 255, higher is preferred; left out: what its label says. */
  readonly priority?: number;
  /** It is dropped when it leaves a request unanswered for this long; left out: what holds for the whole mirror. */
  readonly timeoutMs?: number;
  /** Rejects with DeviceError. Again after a loss; what was opened before is closed by then. */
  open(): Promise<OpenedProvider>;
}

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
}

export interface AssembledMirror {
  readonly mirror: Mirror;
  /**
   * Opens one component again, after a loss: what Mirror.arrive() needs. Rejects with DeviceError, or with AssembleError
   * if what is there now has no label or private area that could be believed.
   */
  reopen(component: Component): Promise<Arrival>;
  /** Ends the mirror cleanly. Safe to call twice. */
  close(): Promise<void>;
}

export type AssembleErrorCode =
  /** Components are missing, and `degraded` was not given. */
  | 'ASSEMBLE_MISSING'
  /** Two components were written without one another. */
  | 'ASSEMBLE_SPLIT_BRAIN'
  /** No component can be the source. */
  | 'ASSEMBLE_NO_SOURCE'
  /** A label or private area is none, damaged or another mirror's. */
  | 'ASSEMBLE_FOREIGN';

/** The mirror can't be started as it is; the message says what to do. Nothing was written. */
export class AssembleError extends Error {
  override readonly name = 'AssembleError';
  constructor(
    readonly code: AssembleErrorCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}
