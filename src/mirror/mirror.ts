import type { BlockDevice, BlockIo, Capabilities } from '../device/block-device.js';
import { DeviceError } from '../device/block-device.js';
import type { Clock, Timer } from '../device/clock.js';
import type { RandomSource } from '../device/random.js';
import { assert } from '../protocol/errors.js';
import { type ByteRange, isAligned, isInside } from '../protocol/geometry.js';
import type { Superblock, Uuid } from '../protocol/superblock.js';
import { ActivityLog } from './activity-log.js';
import { type BalanceAlgorithm, ReadBalance, type ReadPiece } from './balance.js';
import { judgeArrival } from './arrival.js';
import { Component, type ComponentIdentity, type ComponentMedia } from './component.js';
import { Journal, type JournalState } from './journal.js';
import { MirrorFlush } from './mirror-flush.js';
import { MirrorRead, type ReadHost } from './mirror-read.js';
import { type Failure, MirrorWrite } from './mirror-write.js';
import { type RangeHolder, RangeLocks } from './range-locks.js';
import { Resync, type ResyncProgress } from './resync.js';

export const EXTENT_SIZE_BYTES = 4_194_304;

/** A component that can be talked to, as it comes to the mirror. */
export interface Arrival {
  readonly media: ComponentMedia;
  readonly superblock: Superblock;
  /** Somebody else changed its label or its image since we wrote them. */
  readonly isTouched: boolean;
}

export interface MirrorEvents {
  /** A component's state or the mirror's changed. For the log, status and hooks. */
  changed(what: string, component: Component, why: string | null): void;
}

export interface MirrorOptions {
  readonly name: string;
  readonly uuid: Uuid;
  readonly mediaSizeBytes: number;
  readonly sectorSizeBytes: number;
  readonly components: readonly ComponentIdentity[];
  readonly journal: JournalState;
  readonly balance: BalanceAlgorithm;
  /** Of the split algorithm. */
  readonly sliceBytes: number;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly events: MirrorEvents;
  readonly extentsMax: number;
  /** A component that leaves a request unanswered for this long is dropped. */
  readonly timeoutMs: number;
  /** Without writes for this long, labels and superblocks are made clean. */
  readonly idleMs: number;
  /** Start resyncs of returned components by ourselves. */
  readonly isAutosync: boolean;
  readonly resyncBytesPerSecond: number;
}

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
  /** Its components are named by their index in `components`. */
  readonly #balance: ReadBalance;
  readonly #resyncs = new Map<Component, Resync>();
  #inFlight = 0;
  #writes = 0;
  #lastWriteMs = 0;
  #tick: Timer | null = null;
  #isClosed = false;
  #whenQuiet: (() => void)[] = [];

  constructor(private readonly options: MirrorOptions) {
    const { mediaSizeBytes, clock, random } = options;
    this.name = `mirror/${options.name}`;
    this.mediaSizeBytes = mediaSizeBytes;
    this.sectorSizeBytes = options.sectorSizeBytes;
    this.components = [...options.components]
      .sort((one, other) => other.priority - one.priority)
      .map((identity) => new Component(identity, mediaSizeBytes, clock));
    this.#flush = new MirrorFlush(this);
    this.#balance = new ReadBalance({
      algorithm: options.balance,
      sliceBytes: options.sliceBytes,
      sectorSizeBytes: options.sectorSizeBytes,
      components: this.components.map(({ identity }) => identity),
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
    this.#inFlight += 1;
    if (io.op === 'read' || io.op === 'checksum') {
      this.#read(this, io);
      return;
    }
    assert(isAligned(io, this.sectorSizeBytes), `${this.name}: ${io.op} is not aligned to sectors`);
    this.#writes += 1;
    this.#lastWriteMs = this.options.clock.nowMs();
    new MirrorWrite(this, io).start();
  }

  #read(host: ReadHost, io: BlockIo): void {
    if (io.op === 'checksum') {
      const component = this.#active.find(({ can }) => can.checksum);
      if (component === undefined) this.#refuse(host, io);
      else new MirrorRead(host, io).start(component);
      return;
    }
    const pieces = this.#balance.chooseRead(io.offsetBytes, io.lengthBytes);
    const [first] = pieces;
    const component = first === undefined ? undefined : this.components[first.component];
    if (component === undefined) this.#refuse(host, io);
    else if (pieces.length === 1) new MirrorRead(host, io).start(component);
    else this.#readPieces(host, io, [...pieces.map((piece) => ({ ...piece }))]);
  }

  /** The split algorithm: each component answers a part. */
  #readPieces(host: ReadHost, io: BlockIo, pieces: readonly ReadPiece[]): void {
    let waiting = pieces.length;
    let first: DeviceError | null = null;
    const done = (error: DeviceError | null): void => {
      first ??= error;
      waiting -= 1;
      if (waiting > 0) return;
      host.ended();
      io.done(first);
    };
    const partHost: ReadHost = { ...this.#hostWithout(), ended: () => undefined };
    for (const { component: index, offsetBytes, lengthBytes } of pieces) {
      const component = this.components[index];
      assert(component !== undefined, `${this.name}: a read of no component`);
      const bufferAt = io.bufferAt + (offsetBytes - io.offsetBytes);
      const part = { op: io.op, offsetBytes, lengthBytes, buffer: io.buffer, bufferAt, done };
      new MirrorRead(partHost, part).start(component);
    }
  }

  /** For requests that no component can serve. */
  #refuse(host: ReadHost, io: BlockIo): void {
    queueMicrotask(() => {
      host.ended();
      io.done(new DeviceError('DEVICE_LOST', 'ENXIO', `${this.name} has no component that can ${io.op}`));
    });
  }

  // What reads need. See ReadHost.

  chooseOther(read: MirrorRead, failed: readonly Component[]): Component | null {
    const isFit = (component: Component): boolean =>
      !failed.includes(component) && (read.op !== 'checksum' || component.can.checksum);
    return this.#active.find(isFit) ?? null;
  }

  readStarted(component: Component, read: MirrorRead): void {
    const { offsetBytes, lengthBytes } = read;
    this.#balance.readStarted({ component: this.components.indexOf(component), offsetBytes, lengthBytes });
  }

  readDone(component: Component): void {
    this.#balance.readDone(this.components.indexOf(component));
  }

  readFailed(component: Component, read: MirrorRead, error: DeviceError, isAnswered: boolean): void {
    // Not to be had anywhere: the last copy is as good as any, and stays.
    if (!isAnswered || !component.isConnected) return;
    if (error.code !== 'DEVICE_IO' || read.op !== 'read') {
      this.drop(component, error);
      return;
    }
    this.#repair(component, read.offsetBytes, read.lengthBytes, error).catch(() =>
      this.drop(component, error),
    );
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

  /** A caller's request is answered. */
  ended(write: MirrorWrite | null = null): void {
    if (write !== null) this.#writes -= 1;
    this.#inFlight -= 1;
    if (this.#inFlight === 0) for (const resolve of this.#whenQuiet.splice(0)) resolve();
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
      read: (io) => this.#readForUs(io),
      foreground: () => this.#inFlight,
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

  /** As the callers read, but not counted among them. */
  #readForUs(io: BlockIo): void {
    this.#read(this.#hostWithout(), io);
  }

  /** This mirror as the host of reads that nobody counts. */
  #hostWithout(): ReadHost {
    return {
      chooseOther: (read, failed) => this.chooseOther(read, failed),
      readStarted: (component, read) => this.readStarted(component, read),
      readDone: (component) => this.readDone(component),
      readFailed: (component, read, error, isAnswered) => this.readFailed(component, read, error, isAnswered),
      ended: () => undefined,
    };
  }

  /** Components that are in step, before the first request. */
  attachActive(component: Component, media: ComponentMedia): void {
    component.attach(media, 'attachedCurrent');
    this.#statesChanged();
  }

  /** Ends cleanly: what is under way is finished and flushed, log and labels are clean. Safe to call twice. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    if (this.#inFlight > 0) await new Promise<void>((resolve) => this.#whenQuiet.push(resolve));
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
    this.components.forEach(({ state, takesWrites }, index) => {
      this.#balance.setState(index, state === 'ACTIVE' ? 'ACTIVE' : takesWrites ? 'CONNECTED' : 'ABSENT');
    });
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

  /** Writes good data over a range that could not be read. What can't be repaired is dropped. */
  async #repair(
    component: Component,
    offsetBytes: number,
    lengthBytes: number,
    why: DeviceError,
  ): Promise<void> {
    const buffer = Buffer.alloc(lengthBytes);
    const error = await this.#locked({ offsetBytes, lengthBytes }, async () => {
      const request = { offsetBytes, lengthBytes, buffer, bufferAt: 0 };
      const readError = await this.#readElsewhere(component, request);
      if (readError !== null || !component.takesWrites) return readError;
      return new Promise<DeviceError | null>((resolve) =>
        component.start({ ...request, op: 'write', answered: (_component, outcome) => resolve(outcome) }),
      );
    });
    if (error !== null) this.drop(component, why);
    else
      this.options.events.changed(
        'repaired',
        component,
        `${lengthBytes} bytes at ${offsetBytes}: ${why.message}`,
      );
  }

  /** A read by another component than `component`. What fails in it is not repaired in turn. */
  #readElsewhere(
    component: Component,
    request: Pick<BlockIo, 'offsetBytes' | 'lengthBytes' | 'buffer' | 'bufferAt'>,
  ): Promise<DeviceError | null> {
    return new Promise((resolve) => {
      const host = { ...this.#hostWithout(), readFailed: () => undefined };
      const read = new MirrorRead(host, { ...request, op: 'read', done: resolve });
      const source = this.chooseOther(read, [component]);
      if (source === null)
        resolve(new DeviceError('DEVICE_LOST', 'ENXIO', `${this.name} has no other component`));
      else read.start(source);
    });
  }

  async #locked<Result>(range: ByteRange, run: () => Promise<Result>): Promise<Result> {
    const holder = await new Promise<RangeHolder>((resolve) => {
      const mine: RangeHolder = { ...range, granted: () => resolve(mine) };
      if (this.locks.acquire(mine)) resolve(mine);
    });
    try {
      return await run();
    } finally {
      this.locks.release(holder);
    }
  }
}
