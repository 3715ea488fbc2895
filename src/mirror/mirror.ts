import type { BlockDevice, BlockIo, Capabilities } from '../device/block-device.js';
import { DeviceError } from '../device/block-device.js';
import type { Timer } from '../device/clock.js';
import { EXTENT_SIZE_BYTES } from '../protocol/area-layout.js';
import { assert } from '../protocol/errors.js';
import { isAligned, isInside } from '../protocol/geometry.js';
import { ActivityLog } from './activity-log.js';
import { judgeArrival } from './arrival.js';
import { Component, type ComponentMedia } from './component.js';
import { Journal } from './journal.js';
import { MirrorFlush } from './mirror-flush.js';
import { MirrorReads } from './mirror-reads.js';
import { type Failure, MirrorWrite } from './mirror-write.js';
import { RangeLocks } from './range-locks.js';
import type { Arrival, MirrorOptions } from './mirror-options.js';
import { Resync, type ResyncProgress } from './resync.js';

export type { Arrival, MirrorEvents, MirrorOptions } from './mirror-options.js';

/**
 * RAID1 over its components, itself a block device. Invariant: at least one component is ACTIVE from start() to stop().
 */
export class Mirror implements BlockDevice {
  readonly name: string;
  readonly mediaSizeBytes: number;
  readonly sectorSizeBytes: number;
  readonly components: readonly Component[];
  readonly locks = new RangeLocks();
  readonly log: ActivityLog;
  readonly journal: Journal;
  /** Those that take writes, those that do not, those to read from: kept when states change, for the data path. */
  targets: readonly Component[] = [];
  absent: readonly Component[] = [];
  #active: readonly Component[] = [];
  readonly #flush: MirrorFlush;
  readonly #reads: MirrorReads;
  readonly #resyncs = new Map<Component, Resync>();
  #writes = 0;
  #lastWriteMs = 0;
  #tick: Timer | null = null;
  #isClosed = false;
  #whenQuiet: (() => void)[] = [];

  constructor(readonly options: MirrorOptions) {
    const { mediaSizeBytes, clock, random } = options;
    this.name = `mirror/${options.name}`;
    this.mediaSizeBytes = mediaSizeBytes;
    this.sectorSizeBytes = options.sectorSizeBytes;
    this.components = [...options.components]
      .sort((one, other) => other.priority - one.priority)
      .map((identity) => new Component(identity, mediaSizeBytes, clock));
    this.#flush = new MirrorFlush(this);
    this.#reads = new MirrorReads({
      name: this.name,
      algorithm: options.balance,
      sliceBytes: options.sliceBytes,
      sectorSizeBytes: options.sectorSizeBytes,
      components: this.components,
      locks: this.locks,
      drop: (component, error) => {
        this.drop(component, error);
      },
      repaired: (component, what) => options.events.changed('repaired', component, what),
    });
    this.journal = new Journal(
      {
        components: this.components,
        mediaSizeBytes,
        random,
        failed: (component, error) => {
          this.drop(component, error);
        },
        flushAll: () => this.#flush.run(),
      },
      options.journal,
    );
    this.log = new ActivityLog({
      extentSizeBytes: EXTENT_SIZE_BYTES,
      extentsMax: options.extentsMax,
      commit: (extents) => this.journal.commitLog(extents),
      retire: () => this.journal.retire(),
    });
    this.#arm();
  }

  get can(): Capabilities {
    const can = (what: keyof Capabilities): boolean =>
      this.components.some((component) => component.can[what]);
    return {
      read: true,
      write: true,
      flush: can('flush'),
      trim: can('writeZeroes'),
      writeZeroes: can('writeZeroes'),
      checksum: can('checksum'),
    };
  }

  get state(): 'COMPLETE' | 'DEGRADED' {
    return this.#active.length === this.components.length ? 'COMPLETE' : 'DEGRADED';
  }

  get mustWait(): boolean {
    return this.journal.isLossPending;
  }

  resyncOf(component: Component): ResyncProgress | null {
    return this.#resyncs.get(component)?.progress ?? null;
  }

  start(io: BlockIo): void {
    assert(!this.#isClosed, `${this.name}: a request after the end`);
    if (io.op === 'flush') {
      this.#flush.start(io);
      return;
    }
    assert(isInside(io, this.mediaSizeBytes), `${this.name}: ${io.op} outside the device`);
    if (io.op === 'read' || io.op === 'checksum') {
      this.#reads.start(io);
      return;
    }
    assert(isAligned(io, this.sectorSizeBytes), `${this.name}: ${io.op} is not aligned to sectors`);
    this.#writes += 1;
    this.#lastWriteMs = this.options.clock.nowMs();
    new MirrorWrite(this, io).start();
  }

  // What writes and flushes need. See WriteHost and FlushHost.

  async settle(write: MirrorWrite, failures: readonly Failure[], good: number): Promise<DeviceError | null> {
    // If all failed, the last that is left is the one that callers read from first, so that what they read stays.
    const order = this.components;
    const lowestFirst = [...failures].sort(
      (one, other) => order.indexOf(other.component) - order.indexOf(one.component),
    );
    for (const { component, error } of lowestFirst) this.drop(component, error);
    // The target of a resync may have taken what no ACTIVE one has.
    if (good === 0)
      for (const component of this.targets) if (component.state !== 'ACTIVE') component.missing.mark(write);
    if (this.mustWait) await this.lossesRecorded();
    if (good > 0) return null;
    return (
      failures[0]?.error ?? new DeviceError('DEVICE_LOST', 'ENXIO', `${this.name} has no component left`)
    );
  }

  /** A caller's write is answered. */
  ended(): void {
    this.#writes -= 1;
    if (this.#writes === 0) for (const resolve of this.#whenQuiet.splice(0)) resolve();
  }

  dropAfterFlush(component: Component, error: DeviceError): void {
    this.drop(component, error);
  }

  lossesRecorded(): Promise<void> {
    return this.journal.recordLoss();
  }

  /**
   * Takes a component out of the set, and has that recorded. False for the last ACTIVE one, which is never dropped: an
   * error then is the caller's.
   */
  drop(component: Component, error: DeviceError): boolean {
    if (!component.isConnected) return false;
    if (component.state === 'ACTIVE' && this.#active.length === 1) return false;
    this.#resyncs.get(component)?.stop(error);
    this.#resyncs.delete(component);
    const media = component.lose(error);
    this.#statesChanged();
    this.options.events.changed('disconnected', component, error.message);
    this.journal
      .recordLoss()
      .catch(() => undefined /* who waits for it is told; it is tried again with the next */);
    media.close().catch(() => undefined /* it is given up already */);
    return true;
  }

  /** A component has come, or come back. Resolves when it is ACTIVE, or its resync has begun, or it was refused. */
  async arrive(
    component: Component,
    arrival: Arrival,
  ): Promise<'ACTIVE' | 'SYNCHRONIZING' | 'STALE' | 'split brain' | 'foreign'> {
    const { uuid, slot } = component.identity;
    const verdict = judgeArrival(arrival.superblock, {
      mirrorUuid: this.options.uuid,
      componentUuid: uuid,
      slot,
      journal: this.journal.state,
      isFull: component.isFull,
      isTouched: arrival.isTouched,
    });
    if (verdict === 'split brain' || verdict === 'foreign') {
      component.trouble = verdict;
      this.options.events.changed(verdict, component, null);
      await arrival.media.close();
      return verdict;
    }
    if (verdict === 'full') {
      component.isFull = true;
      component.missing.markAll();
    }
    component.attach(arrival.media, 'attachedStale');
    this.options.events.changed('stale', component, null);
    if (!this.options.isAutosync) return 'STALE';
    await this.startResync(component);
    return component.state === 'SYNCHRONIZING' ? 'SYNCHRONIZING' : 'STALE';
  }

  /** For a STALE component. */
  async startResync(component: Component): Promise<void> {
    component.move('resyncStarted');
    this.#statesChanged();
    try {
      await this.journal.beginResync(component, this.log.extents());
    } catch (error) {
      this.drop(component, error as DeviceError);
      return;
    }
    if (!component.takesWrites) return;
    this.options.events.changed('rebuilding', component, null);
    const resync = new Resync({
      target: component,
      mediaSizeBytes: this.mediaSizeBytes,
      locks: this.locks,
      clock: this.options.clock,
      read: (io) => this.#reads.start(io),
      foreground: () => this.#writes,
      rateBytesPerSecond: this.options.resyncBytesPerSecond,
      ended: (error) => {
        this.#resyncEnded(component, error).catch((failure: unknown) =>
          this.drop(component, failure as DeviceError),
        );
      },
    });
    this.#resyncs.set(component, resync);
    resync.start();
  }

  async #resyncEnded(component: Component, error: DeviceError | null): Promise<void> {
    this.#resyncs.delete(component);
    if (component.state !== 'SYNCHRONIZING') return;
    if (error !== null) {
      this.drop(component, error);
      return;
    }
    try {
      await this.journal.endResync(component);
    } catch (failure) {
      this.drop(component, failure as DeviceError);
      return;
    }
    if (!component.takesWrites) return;
    if (component.missing.countMarked > 0) {
      this.drop(
        component,
        new DeviceError(
          'DEVICE_IO',
          'EIO',
          `${component.name} was written while its resync ended; it starts again`,
        ),
      );
      return;
    }
    component.isFull = false;
    component.move('resyncFinished');
    this.#statesChanged();
    this.options.events.changed('rebuilt', component, null);
  }

  /** Components that are in step, before the first request. */
  attachActive(component: Component, media: ComponentMedia): void {
    component.attach(media, 'attachedCurrent');
    this.#statesChanged();
  }

  /** Ends cleanly: what is under way is finished and flushed, log and labels are clean. Safe to call twice. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    if (this.#writes > 0) await new Promise<void>((resolve) => this.#whenQuiet.push(resolve));
    this.#isClosed = true;
    this.#tick?.cancel();
    const ending = new DeviceError('DEVICE_CLOSED', 'ENXIO', `${this.name} is stopped`);
    for (const resync of this.#resyncs.values()) resync.stop(ending);
    await this.log.empty();
    await this.journal.writeAll();
    await Promise.all(
      this.components
        .filter((component) => component.isConnected)
        .map((component) => component.lose(ending).close()),
    );
  }

  #statesChanged(): void {
    this.targets = this.components.filter((component) => component.takesWrites);
    this.absent = this.components.filter((component) => !component.takesWrites);
    this.#active = this.components.filter((component) => component.state === 'ACTIVE');
    this.#reads.statesChanged();
  }

  #arm(): void {
    this.#tick = this.options.clock.after(500, () => {
      this.#arm();
      for (const component of this.targets) {
        if (component.oldestMs() < this.options.timeoutMs) continue;
        const seconds = this.options.timeoutMs / 1000;
        this.drop(
          component,
          new DeviceError('DEVICE_TIMEOUT', 'ETIMEDOUT', `${component.name} is silent for ${seconds} s`),
        );
      }
      this.#settleDown();
    });
  }

  /** After a while without writes everything is flushed, and a crash costs nothing. */
  #settleDown(): void {
    if (this.#writes > 0 || this.log.size === 0) return;
    if (this.options.clock.nowMs() - this.#lastWriteMs < this.options.idleMs) return;
    this.log
      .empty()
      .catch(() => undefined /* the components that failed have been dropped; the log stays as it is */);
  }
}
