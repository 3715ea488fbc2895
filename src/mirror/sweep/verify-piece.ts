import type { DeviceError } from '../../device/block-device.js';
import { REGION_SIZE_BYTES, regionCount, type ByteRange } from '../../protocol/geometry.js';
import type { Component } from '../component.js';
import type { RangeHolder, RangeLocks } from '../range-locks.js';
import type { RegionRun } from '../area/region-bitmap.js';
import { rangeOfRun } from '../area/region-runs.js';
import { RegionWrite } from './region-write.js';
import { Share, type Wanted } from './share.js';
import type { SweepPiece } from './sweep.js';

/** What a piece tells, and needs to know. */
export interface VerifyWork {
  readonly source: Component;
  readonly isRepairing: boolean;
  readonly mediaSizeBytes: number;
  readonly locks: RangeLocks;
  /** Those that are to be compared with the source. */
  others(): Component[];
  differs(component: Component, run: RegionRun, range: ByteRange): void;
  isEqual(component: Component, region: number): void;
  repaired(component: Component, run: RegionRun, range: ByteRange): void;
  unreadable(component: Component, range: ByteRange, error: DeviceError): void;
  failedToWrite(component: Component, error: DeviceError): void;
  /** The range is unlocked. */
  done(piece: VerifyPiece): void;
}

interface Side {
  readonly component: Component;
  readonly share: Share;
  error: DeviceError | null;
}

interface Repair {
  readonly component: Component;
  readonly run: RegionRun;
}

/** One run of regions: lock, have all sides tell what they hold, compare, repair if wanted, unlock. Reused. */
export class VerifyPiece implements SweepPiece, RangeHolder {
  offsetBytes = 0;
  lengthBytes = 0;
  readonly #shares = new Map<Component, Side>();
  readonly #write = new RegionWrite((error) => this.#written(error));
  #sides: Side[] = [];
  #waiting = 0;
  #whenRead: () => void = () => undefined;
  #repairs: Repair[] = [];

  constructor(private readonly work: VerifyWork) {}

  aim(run: RegionRun): void {
    const { offsetBytes, lengthBytes } = rangeOfRun(run, this.work.mediaSizeBytes);
    this.offsetBytes = offsetBytes;
    this.lengthBytes = lengthBytes;
  }

  start(): void {
    if (this.work.locks.acquire(this)) this.granted();
  }

  granted(): void {
    const { source } = this.work;
    const others = this.work.others();
    if (source.state !== 'ACTIVE' || others.length === 0) {
      this.#end();
      return;
    }
    const usesSums = others.some(({ can }) => can.checksum);
    // Of what is on this machine the bytes are had for little, and a repair needs them.
    const isTold = usesSums && source.can.checksum && !source.identity.isLocal;
    const wanted = (component: Component): Wanted => {
      if (component === source) return isTold ? 'told sums' : usesSums ? 'sums' : 'data';
      if (component.can.checksum) return 'told sums';
      return isTold ? 'sums' : 'data';
    };
    this.#sides = [source, ...others].map((component) => this.#sideOf(component));
    this.#waiting = this.#sides.length;
    this.#whenRead = () => this.#compare();
    for (const { component, share } of this.#sides) component.start(share.aim(this, wanted(component)));
  }

  #sideOf(component: Component): Side {
    const known = this.#shares.get(component);
    if (known !== undefined) return known;
    const side: Side = {
      component,
      error: null,
      share: new Share((error) => {
        side.error = error;
        this.#waiting -= 1;
        if (this.#waiting === 0) this.#whenRead();
      }),
    };
    this.#shares.set(component, side);
    return side;
  }

  #compare(): void {
    const [source, ...others] = this.#sides;
    for (const { component, error } of this.#sides) {
      if (error !== null) this.work.unreadable(component, this, error);
    }
    this.#repairs = [];
    if (source !== undefined && source.error === null) {
      for (const other of others) if (other.error === null) this.#compareWith(source.share, other);
    }
    this.#repairNext();
  }

  #compareWith(source: Share, { component, share }: Side): void {
    const runs = source.differencesFrom(share);
    const different = new Set<number>();
    for (const run of runs) {
      for (let index = 0; index < run.regionCount; index++) different.add(run.firstRegion + index);
      this.work.differs(component, run, this.#rangeOf(run));
      if (this.work.isRepairing) this.#repairs.push({ component, run });
    }
    const first = this.offsetBytes / REGION_SIZE_BYTES;
    for (let region = first; region < first + regionCount(this.lengthBytes); region++)
      if (!different.has(region)) this.work.isEqual(component, region);
  }

  #repairNext(): void {
    const [repair] = this.#repairs;
    const [source] = this.#sides;
    if (repair === undefined || source === undefined) {
      this.#end();
      return;
    }
    const { component, run } = repair;
    const range = this.#rangeOf(run);
    if (component.state !== 'ACTIVE') {
      this.#repairs.shift();
      this.#repairNext();
    } else if (source.share.holds(range)) this.#write.start(component, source.share, range);
    else if (source.component.state === 'ACTIVE') {
      this.#waiting = 1;
      this.#whenRead = () => this.#sourceRead(source, range);
      source.component.start(source.share.aim(range, 'data'));
    } else this.#end();
  }

  #sourceRead(source: Side, range: ByteRange): void {
    if (source.error === null) {
      this.#repairNext();
      return;
    }
    // What could not be repaired stays marked.
    this.work.unreadable(source.component, range, source.error);
    this.#end();
  }

  #written(error: DeviceError | null): void {
    const repair = this.#repairs.shift();
    if (repair !== undefined) {
      if (error !== null) this.work.failedToWrite(repair.component, error);
      else this.work.repaired(repair.component, repair.run, this.#rangeOf(repair.run));
    }
    this.#repairNext();
  }

  #end(): void {
    this.work.locks.release(this);
    this.work.done(this);
  }

  #rangeOf(run: RegionRun): ByteRange {
    return rangeOfRun(run, this.work.mediaSizeBytes);
  }
}
