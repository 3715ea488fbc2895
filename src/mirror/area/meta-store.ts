import type { Superblock } from '../../protocol/superblock.js';
import type { RegionBitmap } from './region-bitmap.js';

/** What a person has decided about a mirror or a component, as its gmirror label says it. */
export interface LabelSettings {
  /** How many components the mirror has. */
  readonly all: number;
  readonly isInactive: boolean;
  /** 0 to 255. */
  readonly priority: number;
  /** As labels name it: a number, see balanceName. */
  readonly balance: number;
  readonly sliceBytes: number;
  readonly noAutoSync: boolean;
  readonly noFailSync: boolean;
  /** The only provider name under which the kernel takes it; empty for any. */
  readonly hardcodedProvider: string;
}

/** What the labels of all components say of the mirror, and a person may change while it runs. */
export type MirrorSettings = Pick<LabelSettings, 'balance' | 'sliceBytes' | 'noAutoSync' | 'noFailSync'>;

/** The fields of the gmirror label that change while a mirror runs. */
export interface LabelState {
  readonly genid: number;
  readonly syncid: number;
  readonly isDirty: boolean;
  readonly isSynchronizing: boolean;
  /** What is left out stays as it is. */
  readonly settings?: Partial<LabelSettings>;
}

/** What a superblock says besides its own identity and place. */
export type SuperblockChange = Partial<
  Pick<
    Superblock,
    'isRunning' | 'isInconsistent' | 'current' | 'history' | 'slots' | 'genid' | 'syncid' | 'modifiedNs'
  >
>;

/**
 * Where a component keeps what the mirror must remember: private area and label. Nothing but flush() promises
 * durability; on a component that can't flush, flush() promises nothing and resolves. All reject with DeviceError.
 */
export interface MetaStore {
  /** As last written or read. */
  readonly superblock: Superblock;
  /** The hot extents as last read or written. 'damaged': nobody knows, and every extent counts as hot. */
  readLog(): readonly number[] | 'damaged';
  /** What the component of `slot` may miss, the caller's own from then on. */
  readBitmap(slot: number): Promise<RegionBitmap>;
  writeSuperblock(change: SuperblockChange): Promise<void>;
  writeLog(extents: readonly number[]): Promise<void>;
  /** The parts of `bitmap`, which is that of `slot`, that hold the given pages. */
  writeBitmap(slot: number, bitmap: RegionBitmap, pages: readonly number[]): Promise<void>;
  writeLabel(state: LabelState): Promise<void>;
  flush(): Promise<void>;
}
