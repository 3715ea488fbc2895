import { DeviceError } from '../../device/block-device.js';
import type { ArrivalRefusal } from '../decide/arrival.js';
import type { Component, ComponentMedia } from '../component.js';
import { mayLackFlushed } from '../journal/marks.js';
import type { Arrival } from '../mirror-options.js';
import type { MirrorReads } from '../mirror-reads.js';
import type { ByteRange } from '../../protocol/geometry.js';
import { lookAt, receive, type ReceptionHost } from './reception.js';
import type { RangeLocks } from '../range-locks.js';
import type { RegionBitmap } from '../area/region-bitmap.js';
import { markedRuns, rangeOfRun } from '../area/region-runs.js';
import { Resync, type ResyncProgress } from '../sweep/resync.js';
import type { Pace } from '../sweep/pace.js';

/** What became of a component that came. */
export type ArrivalOutcome = 'ACTIVE' | 'SYNCHRONIZING' | 'STALE' | 'unwanted' | ArrivalRefusal;

/** What the return of a component needs of its mirror. */
export interface ReturnHost extends ReceptionHost {
  readonly components: readonly Component[];
  readonly isAutosync: boolean;
  readonly locks: RangeLocks;
  readonly pace: Pace;
  readonly reads: Pick<MirrorReads, 'start'>;
  statesChanged(): void;
  drop(component: Component, error: DeviceError): boolean;
}

/** The way back of a component that was not there, or is not in step: from its arrival over its resync to ACTIVE. */
export class Returns {
  readonly #resyncs = new Map<Component, Resync>();
  /** Of resyncs that are not there yet. None rejects. */
  readonly #beginnings = new Set<Promise<void>>();

  constructor(private readonly host: ReturnHost) {}

  progressOf(component: Component): ResyncProgress | null {
    return this.#resyncs.get(component)?.progress ?? null;
  }

  /** See Mirror.arrive(). */
  async arrive(component: Component, arrival: Arrival): Promise<ArrivalOutcome> {
    const outcome = await receive(component, arrival, this.host);
    if (outcome === 'accept') return await this.admit(component, arrival.media);
    await arrival.media.close();
    return outcome;
  }

  /** Of a component that somebody else uses: see lookAt(). Closes its media. */
  async look(component: Component, arrival: Arrival): Promise<void> {
    try {
      await lookAt(component, arrival, this.host);
    } finally {
      await arrival.media.close();
    }
  }

  /**
   * A component that is behind is there, and all that it may miss is marked. `waits`: until it has its own account of that
   * and its resync runs, which takes a while for a large medium on a slow link.
   */
  async admit(
    component: Component,
    media: ComponentMedia,
    { waits }: { readonly waits: boolean } = { waits: true },
  ): Promise<'SYNCHRONIZING' | 'STALE'> {
    component.attach(media, 'attachedStale');
    // Somebody has failed since it was in step, and it may have been this one, in an earlier life of the mirror.
    if (media.store.superblock.genid < this.host.journal.state.genid) component.isCacheDoubtful = true;
    if (mayLackFlushed(media)) component.isCacheDoubtful = component.hasFailed = true;
    this.host.options.events.changed('stale', component, null);
    if (!this.host.isAutosync) return 'STALE';
    const begun = await this.#accept(component);
    if (waits) await begun();
    return component.state === 'SYNCHRONIZING' ? 'SYNCHRONIZING' : 'STALE';
  }

  /** For a STALE component. */
  async startResync(component: Component): Promise<void> {
    const begun = await this.#accept(component);
    await begun();
  }

  /** Resolves with what waits until the resync runs, or the component is dropped. */
  async #accept(component: Component): Promise<() => Promise<void>> {
    const { host } = this;
    try {
      await host.journal.acceptTarget(component);
    } catch (error) {
      host.drop(component, error as DeviceError);
      return () => Promise.resolve();
    }
    // Unless it was lost meanwhile, or somebody else has begun.
    if (component.state !== 'STALE') return () => Promise.resolve();
    component.move('resyncStarted');
    component.isUntold = true;
    host.statesChanged();
    const beginning = this.#begin(component);
    this.#beginnings.add(beginning);
    const begun = beginning.finally(() => this.#beginnings.delete(beginning));
    return () => begun;
  }

  async #begin(component: Component): Promise<void> {
    const { host } = this;
    const { options } = host;
    const { store } = component;
    // It may be lost meanwhile, and even be back.
    const isSame = (): boolean => component.takesWrites && component.store === store;
    try {
      await host.journal.beginResync(component);
    } catch (error) {
      if (isSame()) host.drop(component, error as DeviceError);
      return;
    }
    if (!isSame()) return;
    component.isUntold = false;
    options.events.changed('rebuilding', component, null);
    const resync = new Resync({
      target: component,
      mediaSizeBytes: options.mediaSizeBytes,
      locks: host.locks,
      clock: options.clock,
      read: (io) => host.reads.start(io),
      pace: host.pace,
      sourceTellsSums: () =>
        host.active.every(({ identity }) => !identity.isLocal) && host.active.some(({ can }) => can.checksum),
      saveMarks: () => host.journal.saveMarks(),
      rateBytesPerSecond: options.resyncBytesPerSecond,
      ended: (error) => {
        // One that was taken out has been ended by whoever took it.
        if (this.#resyncs.get(component) !== resync) return;
        this.#ended(component, error).catch((failure: unknown) =>
          host.drop(component, failure as DeviceError),
        );
      },
    });
    this.#resyncs.set(component, resync);
    resync.start();
  }

  /** The component is about to be lost. */
  stop(component: Component, error: DeviceError): void {
    const resync = this.#resyncs.get(component);
    this.#resyncs.delete(component);
    resync?.stop(error);
  }

  /** Ends all resyncs with what they have copied noted as copied. */
  async finishAll(error: DeviceError): Promise<void> {
    await Promise.all(this.#beginnings);
    const resyncs = [...this.#resyncs.values()];
    this.#resyncs.clear();
    await Promise.all(resyncs.map((resync) => resync.finish(error)));
  }

  /** The component may have other bytes there than the ACTIVE ones: it is marked. */
  differs(component: Component, range: ByteRange): void {
    component.missing.mark(range);
    this.#resyncs.get(component)?.differsAgain(range);
  }

  async #ended(component: Component, error: DeviceError | null): Promise<void> {
    const { host } = this;
    this.#resyncs.delete(component);
    if (component.state !== 'SYNCHRONIZING') return;
    if (error !== null) {
      host.drop(component, error);
      return;
    }
    const { store } = component;
    try {
      await host.journal.endResync(component);
    } catch (failure) {
      host.drop(component, failure as DeviceError);
      return;
    }
    // It may have been lost meanwhile, and even be back.
    if (!component.takesWrites || component.store !== store) return;
    if (component.missing.countMarked > 0) {
      const message = `${component.name} was written while its resync ended; it starts again`;
      host.drop(component, new DeviceError('DEVICE_IO', 'EIO', message));
      return;
    }
    component.isCacheDoubtful = false;
    component.settleFlushes();
    component.move('resyncFinished');
    host.statesChanged();
    host.options.events.changed('rebuilt', component, null);
    for (const other of host.active) if (other.isCacheDoubtful) this.#replace(other);
  }

  /** It failed as the only good copy. Now that there is another one, it is written anew from that. */
  #replace(doubtful: Component): void {
    const { host } = this;
    // Whoever was copied to from its cache may have got what is there no more when the next one reads.
    for (const component of host.components)
      if (component.state !== 'ACTIVE') this.#differsWhere(doubtful.missing, component);
    const message = `${doubtful.name} failed as the only good copy, and is written anew`;
    host.drop(doubtful, new DeviceError('DEVICE_IO', 'EIO', message));
  }

  #differsWhere(marks: RegionBitmap, component: Component): void {
    const { mediaSizeBytes } = this.host.options;
    for (const run of markedRuns(marks)) this.differs(component, rangeOfRun(run, mediaSizeBytes));
  }
}
