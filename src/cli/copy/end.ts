import type { BlockDevice } from '../../device/block-device.js';
import type { AskData } from './extents.js';
import type { EndIdentity } from './resume.js';

/** One end of a copy: a device, and what is known of it beyond that. */
export interface CopyEnd {
  readonly device: BlockDevice;
  /** Equal for two ends that are the same thing, as far as can be told. */
  readonly key: string;
  /** Absolute; null for a remote export. */
  readonly localPath: string | null;
  /** Data has to travel to compare it. */
  readonly isRemote: boolean;
  /** An image file that was made for this copy: it holds nothing but zeros. */
  readonly isFresh: boolean;
  /** Null where holes can't be asked for. */
  readonly askData: AskData | null;
  /** Looks anew: the time of the last change is part of it. */
  identify(): Promise<EndIdentity>;
  /** How often since it was opened answered writes that were not flushed may have been lost: the host has restarted. */
  lossCount(): number;
  /** How often the connection was made anew. */
  reconnectCount(): number;
  /** From now on `onStatus` hears why the end stands still, and null when it goes on. */
  watch(onStatus: (text: string | null) => void): void;
}
