import { DeviceError } from '../../device/block-device.js';
import type { Clock } from '../../device/clock.js';
import { assert } from '../../protocol/errors.js';
import { REGION_SIZE_BYTES, type ByteRange } from '../../protocol/geometry.js';
import type { Component } from '../component.js';
import type { Journal } from '../journal/journal.js';
import { flushComponent } from '../mirror-flush.js';
import type { MirrorReads } from '../mirror-reads.js';
import type { RangeLocks } from '../range-locks.js';
import { RegionBitmap, type RegionRun } from '../area/region-bitmap.js';
import { clearMarks } from '../area/region-runs.js';
import type { Pace } from './pace.js';
import { Sweep, type SweepJob, type SweepPiece, type SweepProgress } from './sweep.js';
import { VerifyPiece } from './verify-piece.js';

/** What a verify needs of its mirror. */
export interface VerifyHost {
  readonly name: string;
  readonly mediaSizeBytes: number;
  readonly options: { readonly clock: Clock; readonly resyncBytesPerSecond: number };
  readonly pace: Pace;
  readonly locks: RangeLocks;
  readonly active: readonly Component[];
  readonly reads: Pick<MirrorReads, 'preferred' | 'heal'>;
  readonly journal: Pick<Journal, 'recordMarks'>;
  drop(component: Component, error: DeviceError): boolean;
}

export interface VerifyOptions {
  /** Copy from the source what differs. */
  readonly isRepairing: boolean;
  /** One that was stopped, to go on where it was; null to begin anew. */
  readonly previous: Verify | null;
}

export type VerifyState = 'running' | 'complete' | 'stopped' | 'failed';

/** What was found of one component, against the source. */
export interface Finding {
  readonly component: Component;
  /** In whole regions, but for the end of the medium. */
  readonly differentBytes: number;
  /** Of these, overwritten with what the source has. */
  readonly repairedBytes: number;
  /** It could not read them; they were rewritten from another component, or it was dropped. */
  readonly unreadableBytes: number;
  /** Starts of the lowest different regions, FIRST_MAX at most. */
  readonly firstOffsetsBytes: readonly number[];
}

interface Found extends Finding {
  differentBytes: number;
  repairedBytes: number;
  unreadableBytes: number;
  firstOffsetsBytes: number[];
  /** Known to be the same as in the source, flushed or not: their marks go when they are flushed. */
  settled: RegionBitmap;
}

const FIRST_MAX = 10;

/**
 * Compares the data of all components that are in step with that of the one that is read from first, beside the callers'
 * requests. A region is compared with its range locked, so no write is seen by one side only. What differs is marked in
 * the bitmap of the component that is not the source, on stable storage by the end: unless it is repaired at once it is
 * copied from the source when that component is next resynced.
 */
export class Verify implements SweepJob {
  readonly source: Component;
  readonly isRepairing: boolean;
  readonly #sweep: Sweep;
  readonly #found = new Map<Component, Found>();
  #state: VerifyState = 'running';
  #why: string | null = null;
  #cursor: number;
  /** Marks changed since they were recorded. */
  #isChanged = false;
  readonly #regionCount: number;

  constructor(
    private readonly host: VerifyHost,
    options: VerifyOptions,
  ) {
    const { mediaSizeBytes, active, pace } = host;
    const { clock, resyncBytesPerSecond } = host.options;
    assert(active.length > 1, `${host.name}: verify with nothing to be compared`);
    this.source = host.reads.preferred;
    this.isRepairing = options.isRepairing;
    this.#regionCount = Math.ceil(mediaSizeBytes / REGION_SIZE_BYTES);
    this.#cursor = options.previous?.nextRegion ?? 0;
    for (const component of active) {
      const before = options.previous?.findings.find((one) => one.component === component);
      this.#found.set(component, newFound(component, mediaSizeBytes, before));
    }
    this.#sweep = new Sweep({
      clock,
      pace,
      rateBytesPerSecond: resyncBytesPerSecond,
      totalBytes: mediaSizeBytes,
      startBytes: Math.min(this.#cursor * REGION_SIZE_BYTES, mediaSizeBytes),
      job: this,
    });
  }

  get state(): VerifyState {
    return this.#state;
  }

  /** Why it has not come to its end; null otherwise. */
  get why(): string | null {
    return this.#why;
  }

  get progress(): SweepProgress {
    return this.#sweep.progress;
  }

  /** The source's own, of which only what is unreadable counts, and those of all others that it was begun with. */
  get findings(): readonly Finding[] {
    return [...this.#found.values()];
  }

  /** Where one that was stopped goes on. */
  get nextRegion(): number {
    return this.#cursor;
  }

  start(): void {
    this.#sweep.start();
  }

  /** Resolves when everything that was found is recorded. */
  async stop(): Promise<void> {
    await this.#sweep.finish(new DeviceError('DEVICE_CLOSED', 'ENXIO', 'stopped'));
  }

  /** A component is not there any more. */
  lost(component: Component): void {
    const found = this.#found.get(component);
    if (this.#state !== 'running' || found === undefined) return;
    found.settled.clearAll();
    const isOver = component === this.source || this.others().length === 0;
    if (!isOver) return;
    const message = `${component.name} was lost`;
    this.#why ??= message;
    this.#sweep.finish(new DeviceError('DEVICE_LOST', 'ENXIO', message)).catch(() => undefined /* never */);
  }

  // For pieces.

  get mediaSizeBytes(): number {
    return this.host.mediaSizeBytes;
  }

  get locks(): RangeLocks {
    return this.host.locks;
  }

  /** Those that are still in step, without the source. */
  others(): Component[] {
    return [...this.#found.keys()].filter((one) => one !== this.source && one.state === 'ACTIVE');
  }

  differs(component: Component, run: RegionRun, range: ByteRange): void {
    const found = this.#foundOf(component);
    found.differentBytes += range.lengthBytes;
    for (let region = run.firstRegion; region < run.firstRegion + run.regionCount; region++)
      found.firstOffsetsBytes.push(region * REGION_SIZE_BYTES);
    found.firstOffsetsBytes.sort((one, other) => one - other);
    found.firstOffsetsBytes.splice(FIRST_MAX);
    found.settled.clearRun(run.firstRegion, run.regionCount);
    component.missing.markRun(run.firstRegion, run.regionCount);
    this.#isChanged = true;
  }

  /** It was marked by an earlier verify, and has been overwritten on all sides since. */
  isEqual(component: Component, region: number): void {
    if (component.missing.isMarked(region)) this.#foundOf(component).settled.markRegion(region);
  }

  repaired(component: Component, run: RegionRun, range: ByteRange): void {
    const found = this.#foundOf(component);
    found.repairedBytes += range.lengthBytes;
    found.settled.markRun(run.firstRegion, run.regionCount);
  }

  unreadable(component: Component, range: ByteRange, error: DeviceError): void {
    if (error.code === 'DEVICE_IO') this.#foundOf(component).unreadableBytes += range.lengthBytes;
    if (component.state === 'ACTIVE')
      this.host.reads.heal(component, range, error).catch(() => undefined /* it never rejects */);
  }

  failedToWrite(component: Component, error: DeviceError): void {
    this.host.drop(component, error);
  }

  done(piece: VerifyPiece): void {
    this.#sweep.pieceDone(piece, piece.lengthBytes);
  }

  // For the sweep. See SweepJob.

  makePiece(): SweepPiece {
    return new VerifyPiece(this);
  }

  next(regionsMax: number): RegionRun | null {
    const firstRegion = this.#cursor;
    const regionCount = Math.min(regionsMax, this.#regionCount - firstRegion);
    if (regionCount <= 0) return null;
    this.#cursor += regionCount;
    return { firstRegion, regionCount };
  }

  async checkpoint(): Promise<void> {
    const { host } = this;
    for (const found of this.#found.values()) {
      const { component, settled } = found;
      if (settled.countMarked === 0 || !component.isConnected) continue;
      found.settled = new RegionBitmap(host.mediaSizeBytes);
      const { store } = component;
      const error = await flushComponent(component);
      if (error !== null) host.drop(component, error);
      // If it was lost, or is doubtful by now, the marks stay, and it is copied to when that can be.
      else if (component.state === 'ACTIVE' && component.store === store && !component.isCacheDoubtful) {
        clearMarks(component.missing, settled);
        this.#isChanged = true;
      }
    }
    if (!this.#isChanged) return;
    this.#isChanged = false;
    await host.journal.recordMarks();
  }

  completed(): { readonly error: null } {
    return { error: null };
  }

  ended(error: DeviceError | null): void {
    if (error === null) this.#state = 'complete';
    else if (error.code === 'DEVICE_CLOSED') this.#state = 'stopped';
    else {
      this.#state = 'failed';
      this.#why ??= error.message;
    }
  }

  #foundOf(component: Component): Found {
    const found = this.#found.get(component);
    assert(found !== undefined, `verify: ${component.name} came later`);
    return found;
  }
}

const newFound = (component: Component, mediaSizeBytes: number, before: Finding | undefined): Found => ({
  component,
  differentBytes: before?.differentBytes ?? 0,
  repairedBytes: before?.repairedBytes ?? 0,
  unreadableBytes: before?.unreadableBytes ?? 0,
  firstOffsetsBytes: [...(before?.firstOffsetsBytes ?? [])],
  settled: new RegionBitmap(mediaSizeBytes),
});
