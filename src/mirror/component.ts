import type { BlockDevice, BlockOp, Capabilities, DeviceError } from '../device/block-device.js';
import type { Clock } from '../device/clock.js';
import { assert } from '../protocol/errors.js';
import type { Uuid } from '../protocol/superblock.js';
import type { RefusedArrival } from './decide/arrival.js';
import { type ComponentEvent, type ComponentState, nextState } from './component-state.js';
import { Errand, Errands } from './errands.js';
import type { FlushDoubt } from './area/provider.js';
import type { LabelSettings, MetaStore } from './area/meta-store.js';
import { RegionBitmap } from './area/region-bitmap.js';

/** What is there of a component while it is connected. */
export interface ComponentMedia {
  /** Its data: exactly the mirror's media size. */
  readonly data: BlockDevice;
  readonly store: MetaStore;
  /** What stands for the request of `store` that has been under way for the longest time; null if none is. */
  oldestOfStore?(): object | null;
  /**
   * Fails every request in flight at once, on data and store; afterwards no buffer of a caller is touched. The media is
   * of no use from then on but for close().
   */
  abandon(): void;
  /** See OpenedProvider. */
  readonly lost?: Promise<DeviceError>;
  /** See OpenedProvider. */
  readonly flushNote?: FlushDoubt;
  /** At a clean end, when everything is written and flushed and nothing is in flight: what only then can be noted down. */
  seal?(): Promise<void>;
  /** Resolves when nothing can reach the medium any more, not even a request that hung. */
  close(): Promise<void>;
  /** Whether close() has resolved; left out where nobody has to wait for it before the medium is opened again. */
  readonly isClosed?: boolean;
}

export interface ComponentIdentity {
  readonly uuid: Uuid;
  /** Index in the superblock's table, 0 to 7. */
  readonly slot: number;
  /** As the administrator gave it. */
  readonly name: string;
  /** 0 to 255, higher is preferred. */
  readonly priority: number;
  /** Nobody has said it, and its label was not there to be read. */
  readonly isPriorityGuessed?: boolean;
  readonly isLocal: boolean;
  /** It is dropped when it leaves a request unanswered for this long; left out: what holds for the whole mirror. */
  readonly timeoutMs?: number;
}

/** A request of the mirror's to one component. */
export interface ComponentIo {
  readonly op: BlockOp;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly buffer: Buffer | null;
  readonly bufferAt: number;
  /** Called once, and not within start(). */
  answered(component: Component, error: DeviceError | null): void;
}

const NO_CAPABILITIES: Capabilities = {
  read: false,
  write: false,
  flush: false,
  trim: false,
  writeZeroes: false,
  checksum: false,
};

/**
 * One component, connected or not: its state, what is in flight to it, and what it misses. It decides nothing; the
 * mirror does.
 *
 * Invariants: `media` is null exactly while DISCONNECTED; `missing` has a bit for every region that this component may
 * have other bytes in than the ACTIVE ones, but for extents in the activity log; `unflushed` for every region written
 * and answered here since its last good flush began.
 */
export class Component {
  #state: ComponentState = 'DISCONNECTED';
  #media: ComponentMedia | null = null;
  /** Of the superblock, when it was lost last. */
  #lastGenid = 0;
  #can = NO_CAPABILITIES;
  /** Its device says that it can flush, but its answer to one was that it can't. */
  #isFlushDenied = false;
  readonly #errands = new Errands<ComponentIo>();
  /** The store's oldest request when it was looked at last, and since when it is. */
  #seen: { readonly oldest: object | null; readonly sinceMs: number } = { oldest: null, sinceMs: 0 };
  readonly missing: RegionBitmap;
  unflushed: RegionBitmap;
  /** Everything must be copied: its `missing` is full. */
  isFull = false;
  /** How it came when it came last, if only a person can help; else null. */
  refused: RefusedArrival | null = null;
  /** What was written to it without the others is given up. Holds until that is on stable storage, or it is lost. */
  isDiscarded = false;
  /** A person has taken it out of use; it stays a component. */
  isInactive = false;
  /** It is about to be no component any more. */
  isLeaving = false;
  /** It is to be copied to, and does not yet say on stable storage that it is a mixture. */
  isUntold = false;
  /** What a person has decided about it since it was labelled, as its label is to say it. */
  settings: Partial<Pick<LabelSettings, 'priority' | 'hardcodedProvider'>> = {};
  /** Resolves when nothing can reach its medium any more through what was connected last. Never rejects. */
  closing: Promise<void> = Promise.resolve();
  /**
   * It failed by itself, perhaps in a flush: then what it reads, and tells checksums of, may be in its cache only, and no
   * later flush writes it. Until all of that has been copied to it anew, equal checksums say nothing. An ACTIVE one has
   * failed as the only good copy.
   */
  isCacheDoubtful = false;
  /** How often it has failed as the only good copy. */
  doubts = 0;
  /** It was lost because it failed, and not because it could not be reached. */
  hasFailed = false;
  /** Why it is not connected, or the last thing that went wrong; null if nothing did. */
  trouble: string | null = null;
  readonly counters = { reads: 0, writes: 0, bytesRead: 0, bytesWritten: 0, errors: 0 };

  constructor(
    public identity: ComponentIdentity,
    /** Of the mirror. */
    readonly mediaSizeBytes: number,
    private readonly clock: Pick<Clock, 'nowMs'>,
    /** Its media has vanished while nothing was in flight, perhaps. */
    private readonly vanished: (component: Component, error: DeviceError) => void = () => undefined,
  ) {
    this.missing = new RegionBitmap(mediaSizeBytes);
    this.unflushed = new RegionBitmap(mediaSizeBytes);
  }

  get name(): string {
    return this.identity.name;
  }

  get state(): ComponentState {
    return this.#state;
  }

  get can(): Capabilities {
    return this.#can;
  }

  get isConnected(): boolean {
    return this.#media !== null;
  }

  /** It is to be brought back when it is lost. */
  get isWanted(): boolean {
    return !this.isInactive && !this.isLeaving;
  }

  /** Writes go to it: it is in step, or getting there. */
  get takesWrites(): boolean {
    return this.#state === 'ACTIVE' || this.#state === 'SYNCHRONIZING';
  }

  /** Callers' writes go to it. One that is not told of its copy misses them: alone it could pass for a whole old one. */
  get takesData(): boolean {
    return this.takesWrites && !this.isUntold;
  }

  get inFlight(): number {
    return this.#errands.count;
  }

  /** Only while connected. */
  get store(): MetaStore {
    assert(this.#media !== null, `component ${this.name}: no store while disconnected`);
    return this.#media.store;
  }

  /** As its superblock had it last. */
  get genid(): number {
    return this.#media?.store.superblock.genid ?? this.#lastGenid;
  }

  attach(media: ComponentMedia, event: 'attachedCurrent' | 'attachedStale'): void {
    assert(media.data.mediaSizeBytes === this.mediaSizeBytes, `component ${this.name}: data of another size`);
    this.#state = nextState(this.#state, event);
    this.#media = media;
    const { can } = media.data;
    this.#isFlushDenied &&= can.flush;
    this.#can = this.#isFlushDenied ? { ...can, flush: false } : can;
    this.trouble = null;
    this.refused = null;
    media.lost
      ?.then((error) => {
        if (this.#media === media) this.vanished(this, error);
      })
      .catch(() => undefined /* it never rejects */);
  }

  move(event: Exclude<ComponentEvent, 'attachedCurrent' | 'attachedStale' | 'lost'>): void {
    this.#state = nextState(this.#state, event);
  }

  /** At a clean end. An image that is not sealed is only known less well the next time, so nobody waits for an error. */
  async seal(): Promise<void> {
    if (this.#state !== 'ACTIVE' || this.#errands.count > 0) return;
    this.settleFlushes();
    await this.#media?.seal?.().catch(() => undefined);
  }

  /**
   * Gives the media up: fails what is in flight and hands the media over for closing. `changed` is called before anybody
   * is answered: who is told that this one failed may at once look which ones are left.
   */
  lose(error: DeviceError, changed: () => void = () => undefined): ComponentMedia {
    this.#state = nextState(this.#state, 'lost');
    const media = this.#media;
    assert(media !== null, `component ${this.name}: lost without media`);
    this.#media = null;
    this.#lastGenid = media.store.superblock.genid;
    this.#can = NO_CAPABILITIES;
    changed();
    this.trouble = error.message;
    this.isDiscarded = false;
    this.isUntold = false;
    if (error.code === 'DEVICE_IO') this.isCacheDoubtful = true;
    this.hasFailed = error.code === 'DEVICE_IO' && error.errno !== 'ENXIO';
    this.#markUnsure();
    this.unflushed = new RegionBitmap(this.mediaSizeBytes);
    media.abandon();
    for (const errand of this.#errands.takeAll()) errand.io.answered(this, error);
    return media;
  }

  /**
   * It failed, and is the only good copy: what it has not flushed may never reach its medium, though it can be read. It
   * goes on with that marked in its own `missing`, and gets it anew once another component is in step.
   */
  doubt(): void {
    this.isCacheDoubtful = true;
    this.doubts += 1;
    this.#markUnsure();
  }

  /** Only while connected. From now on it is one that can't flush, also when it comes back and still says that it can. */
  denyFlush(): void {
    this.#isFlushDenied = true;
    this.#can = { ...this.#can, flush: false };
    this.trouble = 'it can not flush any more, so what it was sent may be lost with its host';
  }

  /** What it has not flushed may be gone when it comes back, and what is in flight may or may not be there. */
  #markUnsure(): void {
    this.missing.union(this.unflushed);
    for (const { op, offsetBytes, lengthBytes } of this.#errands.all()) {
      if (op !== 'read' && op !== 'checksum' && lengthBytes > 0)
        this.missing.mark({ offsetBytes, lengthBytes });
    }
  }

  /** Whatever its flushes have failed to write is there, or noted on stable storage. */
  settleFlushes(): void {
    this.#media?.flushNote?.settle();
  }

  /** Only while connected. */
  start(io: ComponentIo): void {
    const media = this.#media;
    assert(media !== null, 'component: a request while disconnected');
    const errand = new Errand(this, io);
    this.#errands.add(errand);
    media.data.start(errand);
  }

  /** For Errand. */
  finished(errand: Errand<ComponentIo>, error: DeviceError | null): void {
    // An abandoned one has been answered already.
    if (!this.#errands.remove(errand)) return;
    const { counters } = this;
    if (error !== null) counters.errors += 1;
    else if (errand.op === 'read') {
      counters.reads += 1;
      counters.bytesRead += errand.lengthBytes;
    } else if (errand.op === 'write') {
      counters.writes += 1;
      counters.bytesWritten += errand.lengthBytes;
    }
    errand.io.answered(this, error);
  }

  /** To be called now and then. How long its oldest request, or its store's, has been seen to be under way; 0 without any. */
  silentMs(): number {
    const nowMs = this.clock.nowMs();
    const oldest = this.#media?.oldestOfStore?.() ?? null;
    if (this.#seen.oldest !== oldest) this.#seen = { oldest, sinceMs: nowMs };
    const storeMs = oldest === null ? 0 : nowMs - this.#seen.sinceMs;
    return Math.max(storeMs, this.#errands.look(nowMs));
  }
}
