import type { BlockIo } from '../../device/block-device.js';
import { DeviceError } from '../../device/block-device.js';
import { REGION_SIZE_BYTES, type ByteRange } from '../../protocol/geometry.js';
import type { Component } from '../component.js';
import type { RangeHolder, RangeLocks } from '../range-locks.js';
import type { RegionRun } from '../area/region-bitmap.js';
import { rangeOfRun } from '../area/region-runs.js';
import type { Asking } from './asking.js';
import { RegionWrite } from './region-write.js';
import { Share } from './share.js';
import type { SweepPiece } from './sweep.js';

export interface ResyncPieceOptions {
  readonly target: Component;
  readonly mediaSizeBytes: number;
  readonly locks: RangeLocks;
  readonly read: (io: BlockIo) => void;
  readonly sourceTellsSums: () => boolean;
  readonly asking: Asking;
  readonly totals: { sentBytes: number; zeroedBytes: number; equalBytes: number };
  /** The target has what the ACTIVE ones have. The range is unlocked. */
  readonly done: (piece: ResyncPiece) => void;
  readonly failed: (piece: ResyncPiece, side: 'source' | 'target', error: DeviceError) => void;
}

/** One run of marked regions on its way: lock, compare if that pays, copy what differs, unlock. Reused, with its buffers. */
export class ResyncPiece implements SweepPiece, RangeHolder {
  firstRegion = 0;
  regionCount = 0;
  offsetBytes = 0;
  lengthBytes = 0;
  readonly #source = new Share((error) => this.#read(error, 'source'));
  readonly #target = new Share((error) => this.#read(error, 'target'));
  readonly #write = new RegionWrite((error) => this.#written(error));
  /** What is still to be copied. */
  #runs: RegionRun[] = [];
  #waiting = 0;
  #isComparing = false;
  #sourceError: DeviceError | null = null;
  #targetError: DeviceError | null = null;

  constructor(private readonly options: ResyncPieceOptions) {}

  aim({ firstRegion, regionCount }: RegionRun): void {
    this.firstRegion = firstRegion;
    this.regionCount = regionCount;
    this.offsetBytes = firstRegion * REGION_SIZE_BYTES;
    this.lengthBytes = this.#rangeOf({ firstRegion, regionCount }).lengthBytes;
  }

  start(): void {
    if (this.options.locks.acquire(this)) this.granted();
  }

  granted(): void {
    const { target, asking, read, sourceTellsSums } = this.options;
    if (!this.#isTargetThere()) return;
    this.#sourceError = null;
    this.#targetError = null;
    this.#isComparing = target.can.checksum && !target.isCacheDoubtful && asking.shouldAsk();
    if (!this.#isComparing) {
      this.#copyAll();
      return;
    }
    this.#waiting = 2;
    read(this.#source.aim(this, sourceTellsSums() ? 'told sums' : 'sums'));
    target.start(this.#target.aim(this, 'told sums'));
  }

  #read(error: DeviceError | null, side: 'source' | 'target'): void {
    if (side === 'source') this.#sourceError = error;
    else this.#targetError = error;
    this.#waiting -= 1;
    if (this.#waiting > 0) return;
    if (this.#sourceError !== null) this.#fail('source', this.#sourceError);
    else if (!this.#isComparing) this.#copyNext();
    else this.#compared();
  }

  #compared(): void {
    const { asking, totals } = this.options;
    this.#isComparing = false;
    // What can't be read in the target may be healed by writing it.
    if (this.#targetError !== null) {
      if (this.#isTargetThere()) this.#copyAll();
      return;
    }
    this.#runs = this.#source.differencesFrom(this.#target);
    const differentBytes = this.#runs.reduce((sum, run) => sum + this.#rangeOf(run).lengthBytes, 0);
    totals.equalBytes += this.lengthBytes - differentBytes;
    asking.told(differentBytes < this.lengthBytes);
    this.#copyNext();
  }

  #copyAll(): void {
    const { firstRegion, regionCount } = this;
    this.#runs = [{ firstRegion, regionCount }];
    this.#waiting = 1;
    this.options.read(this.#source.aim(this, 'data'));
  }

  /** Copies the next run, of which the data may be there already. */
  #copyNext(): void {
    const [run] = this.#runs;
    if (run === undefined) {
      this.options.locks.release(this);
      this.options.done(this);
      return;
    }
    const range = this.#rangeOf(run);
    if (!this.#source.holds(range)) {
      this.#waiting = 1;
      this.options.read(this.#source.aim(range, 'data'));
      return;
    }
    if (!this.#isTargetThere()) return;
    this.#runs.shift();
    this.#write.start(this.options.target, this.#source, range);
  }

  #written(error: DeviceError | null): void {
    if (error !== null) {
      this.#fail('target', error);
      return;
    }
    const { totals } = this.options;
    if (this.#write.op === 'write') totals.sentBytes += this.#write.lengthBytes;
    else totals.zeroedBytes += this.#write.lengthBytes;
    this.#copyNext();
  }

  #isTargetThere(): boolean {
    const { target } = this.options;
    if (target.takesWrites) return true;
    this.#fail('target', new DeviceError('DEVICE_LOST', 'ENXIO', `${target.name} is gone`));
    return false;
  }

  #fail(side: 'source' | 'target', error: DeviceError): void {
    this.options.locks.release(this);
    this.options.failed(this, side, error);
  }

  #rangeOf(run: RegionRun): ByteRange {
    return rangeOfRun(run, this.options.mediaSizeBytes);
  }
}
