import type { BlockDevice } from '../../device/block-device.js';
import { flushWhereAble, request } from '../../device/request.js';
import { compareFreshness } from '../../protocol/gmirror-checks.js';
import { encodeLabel, labelOffsetBytes, type GmirrorLabel } from '../../protocol/gmirror-label.js';
import type { Superblock } from '../../protocol/superblock.js';
import type { AreaStore } from './area-store.js';
import type { ImageTime } from './provider.js';
import { sealImage } from './image-time.js';
import type { LabelState, MetaStore, SuperblockChange } from './meta-store.js';
import type { RegionBitmap } from './region-bitmap.js';
import { Turns } from '../turns.js';

/** Where the private area is. */
export interface AreaPlace {
  /** Not on the component's own device. */
  readonly isAreaElsewhere: boolean;
  /** Called before the first change of the superblock. */
  readonly settleArea?: () => Promise<void>;
}

/**
 * Private area and gmirror label of a component. The area's flush() also flushes the label if both are on one device;
 * `provider` is flushed in any case.
 *
 * Invariant: on stable storage the label never says more than the superblock: its genid and syncid are at most those
 * that the superblock names, and it is DIRTY only while that is RUNNING. Whatever a crash leaves, a label that says more
 * was written by somebody else (see isLabelTouched).
 */
export class ComponentStore implements MetaStore {
  #label: GmirrorLabel;
  /**
   * On stable storage the label is not DIRTY. What was found says nothing of that, since a flush of it may have failed;
   * but a superblock that is not RUNNING is written only after that is so.
   */
  #isLabelClean: boolean;
  #settleArea: (() => Promise<void>) | null;
  readonly #turns = new Turns();

  /** `label` is the one on `provider`, the whole component; its flags have names. */
  constructor(
    private readonly area: AreaStore,
    private readonly provider: BlockDevice,
    label: GmirrorLabel,
    private readonly place: AreaPlace,
  ) {
    this.#label = label;
    this.#isLabelClean = !label.diskFlags.dirty && !area.superblock.isRunning;
    this.#settleArea = place.settleArea ?? null;
  }

  get superblock(): Superblock {
    return this.area.superblock;
  }

  /** As last read or written. */
  get label(): GmirrorLabel {
    return this.#label;
  }

  readLog(): readonly number[] | 'damaged' {
    return this.area.readLog();
  }

  readBitmap(slot: number): Promise<RegionBitmap> {
    return this.area.readBitmap(slot);
  }

  /** What time the image has is not known from the first change on, unless the change tells. */
  writeSuperblock(change: SuperblockChange): Promise<void> {
    return this.#turns.run(async () => {
      await this.#settleArea?.();
      this.#settleArea = null;
      if (change.isRunning === false && !this.#isLabelClean) {
        await this.#writeLabel({ ...labelStateOf(this.#label), isDirty: false });
        await this.#flush();
        this.#isLabelClean = true;
      }
      await this.area.writeSuperblock({ modifiedNs: 0n, ...change }, { flush: false });
    });
  }

  writeLog(extents: readonly number[]): Promise<void> {
    return this.area.writeLog(extents, { flush: false });
  }

  writeBitmap(slot: number, bitmap: RegionBitmap, pages: readonly number[]): Promise<void> {
    return this.area.writeBitmap(slot, bitmap, pages, { flush: false });
  }

  writeLabel(state: LabelState): Promise<void> {
    return this.#turns.run(async () => {
      const now = labelStateOf(this.#label);
      const saysMore = compareFreshness(state, now) > 0 || (state.isDirty && !now.isDirty);
      if (saysMore) await this.#flush();
      await this.#writeLabel(state);
    });
  }

  flush(): Promise<void> {
    return this.#turns.run(() => this.#flush());
  }

  /** The last thing of a clean end; see sealImage(). */
  seal(image: ImageTime): Promise<void> {
    return this.#turns.run(() => sealImage(this.area, image));
  }

  /** It is no component any more when this resolves: first the label goes, then the area. It is of no use afterwards. */
  erase(): Promise<void> {
    return this.#turns.run(async () => {
      await eraseLabelSector(this.provider);
      await this.area.erase();
    });
  }

  async #flush(): Promise<void> {
    if (this.place.isAreaElsewhere) await flushWhereAble(this.provider);
    await this.area.flush();
  }

  async #writeLabel(state: LabelState): Promise<void> {
    const { genid, syncid, isDirty: dirty, isSynchronizing: synchronizing } = state;
    const { diskFlags, mirrorFlags } = this.#label;
    const { isInactive, noAutoSync, noFailSync, ...named } = state.settings ?? {};
    const next: GmirrorLabel = {
      ...this.#label,
      ...named,
      genid,
      syncid,
      // Where the kernel's own synchronization stood means nothing any more.
      syncOffsetBytes: 0,
      mirrorFlags: {
        ...mirrorFlags,
        noAutoSync: noAutoSync ?? mirrorFlags.noAutoSync,
        noFailSync: noFailSync ?? mirrorFlags.noFailSync,
      },
      diskFlags: { ...diskFlags, dirty, synchronizing, inactive: isInactive ?? diskFlags.inactive },
    };
    if (dirty) this.#isLabelClean = false;
    await writeLabelSector(this.provider, next);
    this.#label = next;
  }
}

/** Writes the whole last sector, and does not flush it. Rejects with DeviceError. */
export function writeLabelSector(provider: BlockDevice, label: GmirrorLabel): Promise<void> {
  const range = { offsetBytes: labelOffsetBytes(provider), lengthBytes: provider.sectorSizeBytes };
  return request(provider, 'write', range, encodeLabel(label, provider.sectorSizeBytes));
}

/** Zeroes the whole last sector, and flushes that where the provider can. Rejects with DeviceError. */
export async function eraseLabelSector(provider: BlockDevice): Promise<void> {
  const lengthBytes = provider.sectorSizeBytes;
  const range = { offsetBytes: labelOffsetBytes(provider), lengthBytes };
  await request(provider, 'write', range, Buffer.alloc(lengthBytes));
  await flushWhereAble(provider);
}

/** The whole last sector, in memory of its own. Rejects with DeviceError. */
export async function readLabelSector(provider: BlockDevice): Promise<Buffer> {
  const sector = Buffer.alloc(provider.sectorSizeBytes);
  const range = { offsetBytes: labelOffsetBytes(provider), lengthBytes: sector.length };
  await request(provider, 'read', range, sector);
  return sector;
}

/**
 * Whether somebody else wrote the label since we did: the kernel's gmirror sets DIRTY while it runs, and raises syncid
 * or genid when it goes on without a component. A label that says less than the superblock is one that a crash of ours
 * left behind.
 */
export const isLabelTouched = (label: GmirrorLabel, superblock: Superblock): boolean =>
  compareFreshness(label, superblock) > 0 || (label.diskFlags.dirty && !superblock.isRunning);

const labelStateOf = ({ genid, syncid, diskFlags }: GmirrorLabel): LabelState => ({
  genid,
  syncid,
  isDirty: diskFlags.dirty,
  isSynchronizing: diskFlags.synchronizing,
});
