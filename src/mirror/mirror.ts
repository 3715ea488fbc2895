import type { BlockDevice, BlockIo, Capabilities, DeviceError } from '../device/block-device.js';
import { LivedClock } from '../device/lived-clock.js';
import { EXTENT_SIZE_BYTES } from '../protocol/area-layout.js';
import { assert } from '../protocol/errors.js';
import { isAligned, isInside } from '../protocol/geometry.js';
import { ActivityLog } from './activity-log.js';
import { Component, type ComponentIdentity, type ComponentMedia } from './component.js';
import { ComponentSet } from './component-set.js';
import { conductNow, firstConduct } from './conduct.js';
import { endOf, refuseEnded } from './ended.js';
import { Journal } from './journal/journal.js';
import { MirrorFlush } from './mirror-flush.js';
import { MirrorReads } from './mirror-reads.js';
import { startChange } from './mirror-clear.js';
import type { Failure, MirrorWrite } from './mirror-write.js';
import { RangeLocks } from './range-locks.js';
import { settleWrite } from './settle-write.js';
import type { MirrorSettings } from './area/meta-store.js';
import type { Arrival, Conduct, MirrorOptions } from './mirror-options.js';
import type { ResyncProgress } from './sweep/resync.js';
import { dropSilent } from './members/silence.js';
import { Pace } from './sweep/pace.js';
import { type ArrivalOutcome, Returns } from './members/returns.js';
import { Verify, type VerifyOptions } from './sweep/verify.js';

export type { Arrival, MirrorEvents, MirrorOptions } from './mirror-options.js';

/**
 * RAID1 over its components, itself a block device. Invariant: at least one component is ACTIVE from start() to stop().
 */
export class Mirror implements BlockDevice {
  readonly name: string;
  readonly mediaSizeBytes: number;
  readonly sectorSizeBytes: number;
  readonly locks = new RangeLocks();
  readonly log: ActivityLog;
  readonly journal: Journal;
  /** Of what the mirror does for itself, beside its callers. */
  readonly pace: Pace;
  readonly reads: MirrorReads;
  readonly #set: ComponentSet;
  readonly flushes: MirrorFlush;
  readonly returns: Returns;
  #writes = 0;
  readonly #heartbeat: LivedClock;
  #lastWriteMs = 0;
  #isClosed = false;
  #verify: Verify | null = null;
  #settings: MirrorSettings | null;
  #conduct: Conduct;
  #whenQuiet: (() => void)[] = [];

  constructor(readonly options: MirrorOptions) {
    const { mediaSizeBytes, clock, random } = options;
    this.name = `mirror/${options.name}`;
    this.mediaSizeBytes = mediaSizeBytes;
    this.sectorSizeBytes = options.sectorSizeBytes;
    this.#settings = options.settings ?? null;
    this.#conduct = firstConduct(options);
    this.#heartbeat = new LivedClock(clock, () => {
      dropSilent(this);
      this.#settleDown();
    });
    this.#set = new ComponentSet(
      options.components.map((identity) => this.newComponent(identity)),
      () => this.#membersChanged(),
    );
    this.pace = new Pace(clock);
    this.flushes = new MirrorFlush(this);
    this.returns = new Returns(this);
    this.journal = new Journal(
      {
        components: this.#set,
        settings: () => this.#settings,
        random,
        failed: (component, error) => this.drop(component, error) || this.flushes.owe(component, error),
        flushAll: () => this.flushes.run(),
      },
      options.journal,
    );
    this.log = new ActivityLog({
      extentSizeBytes: EXTENT_SIZE_BYTES,
      extentsMax: options.extentsMax,
      commit: (extents) => this.journal.commitLog(extents),
      retire: () => this.journal.retire(),
    });
    this.reads = new MirrorReads({
      name: this.name,
      ...this.conduct,
      sectorSizeBytes: options.sectorSizeBytes,
      components: this.#set,
      locks: this.locks,
      log: this.log,
      drop: (component, error) => void this.drop(component, error),
      repaired: (component, what) => options.events.changed('repaired', component, what),
    });
  }

  get can(): Capabilities {
    const can = (what: keyof Capabilities): boolean =>
      this.components.some((component) => component.can[what]);
    return {
      read: true,
      write: true,
      flush: true, // One that no component can do is answered: see MirrorFlush.
      trim: can('writeZeroes'),
      writeZeroes: can('writeZeroes'),
      checksum: can('checksum'),
    };
  }

  /** All of them, highest priority first. */
  get components(): readonly Component[] {
    return this.#set.all;
  }

  get targets(): readonly Component[] {
    return this.#set.targets;
  }

  get absent(): readonly Component[] {
    return this.#set.absent;
  }

  get state(): 'COMPLETE' | 'DEGRADED' {
    return this.#set.active.length === this.components.length ? 'COMPLETE' : 'DEGRADED';
  }

  /** What labels say of the mirror; null if it has none. */
  get settings(): MirrorSettings | null {
    return this.#settings;
  }

  /** Other than the settings say, if it was started so. */
  get conduct(): Conduct {
    return conductNow(this.#conduct, this.#settings, this.components);
  }

  /** Whether who comes back is resynced by itself. */
  get isAutosync(): boolean {
    return this.#conduct.isAutosync && this.#settings?.noAutoSync !== true;
  }

  get mustWait(): boolean {
    return this.journal.isLossPending;
  }

  resyncOf(component: Component): ResyncProgress | null {
    return this.returns.progressOf(component);
  }

  start(request: BlockIo): void {
    if (this.#isClosed) {
      refuseEnded(this.name, request);
      return;
    }
    const io = this.pace.isWatching ? this.pace.watch(request) : request;
    if (io.op === 'flush') {
      this.flushes.start(io);
      return;
    }
    assert(isInside(io, this.mediaSizeBytes), 'mirror: a request outside the device');
    if (io.op === 'read' || io.op === 'checksum') {
      this.reads.start(io);
      return;
    }
    assert(isAligned(io, this.sectorSizeBytes), 'mirror: a change that is not aligned to sectors');
    startChange(this, io);
  }

  // What writes and flushes need. See WriteHost and FlushHost.

  /** Of a caller's write, and of each of its pieces. */
  began(): void {
    this.#writes += 1;
    this.#lastWriteMs = this.options.clock.nowMs();
  }

  settle(write: MirrorWrite, failures: readonly Failure[], good: number): Promise<DeviceError | null> {
    return settleWrite(this, write, failures, good);
  }

  ended(): void {
    this.#writes -= 1;
    if (this.#writes === 0) for (const resolve of this.#whenQuiet.splice(0)) resolve();
  }

  doubt(component: Component): void {
    component.doubt();
    this.journal.expectLoss();
  }

  lossesRecorded(): Promise<void> {
    return this.journal.lossesRecorded();
  }

  /**
   * Takes a component out of the set, and has that recorded. False for the last ACTIVE one, which is never dropped: an
   * error then is the caller's.
   */
  drop(component: Component, error: DeviceError): boolean {
    if (!component.isConnected) return false;
    if (component.state === 'ACTIVE' && this.#set.active.length === 1) return false;
    this.returns.stop(component, error);
    // What it has in flight is answered inside lose(), and has to wait for the record, too.
    this.journal.expectLoss();
    const media = component.lose(error, () => this.statesChanged());
    this.#verify?.lost(component);
    this.options.events.changed('disconnected', component, error.message);
    this.journal
      .recordLoss()
      .catch(() => undefined /* who waits for it is told; it is tried again with the next */);
    component.closing = media.close().catch(() => undefined /* it is given up already */);
    return true;
  }

  // What resyncs and verifies need. See ReturnHost and VerifyHost.

  get active(): readonly Component[] {
    return this.#set.active;
  }

  /** The one that runs or ran last; null if there was none. */
  get verification(): Verify | null {
    return this.#verify;
  }

  /** At least two components are ACTIVE, and no other one runs. */
  startVerify(options: VerifyOptions): Verify {
    assert(this.#verify?.state !== 'running', `${this.name}: two at a time to verify it`);
    this.#verify = new Verify(this, options);
    this.#verify.start();
    return this.#verify;
  }

  statesChanged(): void {
    this.#set.statesChanged();
    this.reads.statesChanged();
  }

  // What a change of the mirror's members or settings needs. See Membership.

  newComponent(identity: ComponentIdentity): Component {
    const { mediaSizeBytes } = this.options;
    return new Component(identity, mediaSizeBytes, this.#heartbeat, (one, error) => this.drop(one, error));
  }

  /** In memory; the journal's writeAll() makes it last. */
  configure(settings: MirrorSettings, conduct: Conduct): void {
    this.#settings = settings;
    this.#conduct = conduct;
    this.#membersChanged();
  }

  /** As configure(). */
  setPriority(component: Component, priority: number): void {
    component.identity = { ...component.identity, priority, isPriorityGuessed: false };
    component.settings = { ...component.settings, priority };
    this.#set.prioritiesChanged();
  }

  /** Rejects if no ACTIVE component could flush that says it can. */
  flushAll(): Promise<void> {
    return this.flushes.run();
  }

  #membersChanged(): void {
    this.#set.statesChanged();
    this.reads.reset(this.conduct);
  }

  /** A component has come, or come back. Resolves when it is ACTIVE, or its resync has begun, or it was refused. */
  arrive(component: Component, arrival: Arrival): Promise<ArrivalOutcome> {
    return this.returns.arrive(component, arrival);
  }

  /** For a STALE component. */
  startResync(component: Component): Promise<void> {
    return this.returns.startResync(component);
  }

  /** Components that are in step, before the first request. */
  attachActive(component: Component, media: ComponentMedia): void {
    component.attach(media, 'attachedCurrent');
    this.statesChanged();
  }

  /**
   * Ends cleanly: what is under way is finished and flushed, log and labels are clean. Safe to call twice. Rejects if it
   * can't, and if a flush has failed that no caller was told of.
   */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    // Who is told of the last one may begin another one at once.
    while (this.#writes > 0) await new Promise<void>((resolve) => this.#whenQuiet.push(resolve));
    this.#isClosed = true;
    const ending = endOf(this.name);
    try {
      await Promise.all([this.returns.finishAll(ending), this.#verify?.stop()]);
      // One that was under way already has left what was written meanwhile.
      if (!(await this.log.empty())) await this.log.empty();
      await this.journal.writeAll();
      await Promise.all(this.components.map((component) => component.seal()));
    } finally {
      // Not before: somebody may be silent in any of this. And in any case: a process would live on for it.
      this.#heartbeat.stop();
    }
    const connected = this.components.filter((component) => component.isConnected);
    await Promise.all(connected.map((component) => component.lose(ending).close()));
    this.flushes.tellAtEnd();
  }

  /** After a while without writes everything is flushed, and a crash costs nothing. */
  #settleDown(): void {
    const stillMs = this.options.clock.nowMs() - this.#lastWriteMs;
    if (this.#writes > 0 || this.log.size === 0 || stillMs < this.options.idleMs) return;
    this.log
      .empty()
      .catch(() => undefined /* the components that failed have been dropped; the log stays as it is */);
  }
}
