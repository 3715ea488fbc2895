import type { BlockDevice, DeviceError } from '../../device/block-device.js';
import type { ContentCheck } from '../../device/content-check.js';
import type { ByteRange } from '../../protocol/geometry.js';
import type { FlushNote } from '../../device/flush-note.js';
import type { NewSuperblock } from './area-store.js';

/** A provider as it was opened; whoever opened it no longer closes it. */
export interface OpenedProvider {
  /** The whole provider, private area and label included. */
  readonly device: BlockDevice;
  /** The file that holds the private area; null if it is on the provider. */
  readonly area: BlockDevice | null;
  /** Fails every request in flight at once; afterwards no buffer of a caller is touched. */
  readonly abandon?: () => void;
  /** Of one that can vanish while nothing is asked of it: resolves when it has, with how. Never rejects. */
  readonly lost?: Promise<DeviceError>;
  /** Of one whose server tells of a failed flush once: it is to tell whoever opens it next, once more. */
  readonly tellAgain?: () => void;
  /** Of one that comes back by itself: from now on it may only do so while this holds. */
  readonly guardReturn?: (check: ContentCheck) => void;
  /** For an area in a file that is not there yet; `area` is null then. */
  readonly newArea?: { readonly name: string; make(superblock: NewSuperblock): Promise<void> };
  /** Of an `area` in a regular file. */
  readonly secondArea?: SecondArea;
  /** Removes the file of `area`, which holds nothing any more and is closed. Rejects with DeviceError. */
  readonly removeArea?: () => Promise<void>;
  /** Of one whose flushes are known to this host only: see FlushNote. It is closed with `device`. */
  readonly flushNote?: FlushDoubt;
  /** Of an image file: the first range at or behind an offset that is no hole; null if there is none. Rejects where nobody knows. */
  readonly nextAllocated?: (offsetBytes: number) => Promise<ByteRange | null>;
  /** Of an image file: when it was written; left out for everything else. */
  readonly image?: ImageTime;
}

/** The area file that a resize makes beside the first one. All reject with DeviceError. */
export interface SecondArea {
  /** Null if it is not there. Whoever asked closes it. */
  open(): Promise<BlockDevice | null>;
  /** Empty, in the place of an earlier one, and its name on stable storage. Whoever asked closes it. */
  make(sizeBytes: number): Promise<BlockDevice>;
  /** From now on it is the first one, which is gone; who has it open goes on with it. On stable storage when it resolves. */
  keep(): Promise<void>;
  /** Removes it if it is there. */
  drop(): Promise<void>;
}

/** What a component has to know of a FlushNote. */
export type FlushDoubt = Pick<FlushNote, 'isInDoubt' | 'settle'>;

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
  /** The whole provider's when its label was read last: one that has grown since has that where it was. */
  readonly lastSizeBytes?: number;
  /** Rejects with DeviceError. Again after a loss; what was opened before is closed by then. */
  open(): Promise<OpenedProvider>;
  /** Opens it to be read only, also while somebody else writes to it. Rejects with DeviceError. Left out: it can't be. */
  readonly look?: () => Promise<OpenedProvider>;
}
