import { DeviceError } from '../device/block-device.js';
import type { RandomSource } from '../device/random.js';
import {
  FREE_SLOT,
  HISTORY_COUNT,
  NO_UUID,
  SLOT_COUNT,
  UUID_BYTES,
  type SlotRecord,
  type Uuid,
} from '../protocol/superblock.js';
import type { Component } from './component.js';
import type { ComponentSet } from './component-set.js';
import type { LabelState, MetaStore, SuperblockChange } from './meta-store.js';
import { RegionBitmap } from './region-bitmap.js';

/** What the mirror remembers across crashes, besides log and bitmaps. */
export interface JournalState {
  readonly current: Uuid;
  readonly history: readonly Uuid[];
  /** By slot: the generation that a component had when it was lost; NO_UUID while it is in step. */
  readonly lostAt: readonly Uuid[];
  readonly genid: number;
  readonly syncid: number;
}

export interface JournalOptions {
  readonly components: ComponentSet;
  readonly mediaSizeBytes: number;
  readonly random: RandomSource;
  /** A component failed to keep what it was told; drop it. Never the last ACTIVE one. */
  readonly failed: (component: Component, error: DeviceError) => void;
  /** Flushes the data of every component that can, and waits for it. */
  readonly flushAll: () => Promise<void>;
}

/**
 * Puts on stable storage what must be there before something else happens: on every component that takes writes, one
 * thing after another. A step holds when an ACTIVE component has it; those that failed are dropped, and that is
 * recorded next.
 */
export class Journal {
  #state: JournalState;
  #isRunning = false;
  /** Losses so far, and how many of them all superblocks tell of. */
  #losses = 0;
  #recordedLosses = 0;
  /** Slots of resync targets that may say on stable storage that they are in step, while the others do not yet. */
  readonly #claiming = new Set<number>();
  #last: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly options: JournalOptions,
    state: JournalState,
  ) {
    this.#state = state;
  }

  get state(): JournalState {
    return this.#state;
  }

  /** Until that is over nothing may be answered: a crash would take a stale component for a good one. */
  get isLossPending(): boolean {
    return this.#losses > this.#recordedLosses;
  }

  /** The set of hot extents; with the first one the run begins, with none it is clean. */
  commitLog(extents: readonly number[]): Promise<void> {
    return this.#inTurn(async () => {
      const isRunning = extents.length > 0;
      if (isRunning && !this.#isRunning) {
        this.#isRunning = true;
        await this.#everywhere((store, component) => this.#writeIdentity(store, component));
      }
      await this.#everywhere((store) => store.writeLog(extents));
      await this.#everywhere((store) => store.flush());
      if (!isRunning && this.#isRunning) {
        this.#isRunning = false;
        await this.#everywhere((store, component) => this.#writeIdentity(store, component));
        await this.#everywhere((store) => store.flush());
      }
    });
  }

  /** Before extents leave the log: what was written there is flushed, and who misses it is marked. */
  retire(): Promise<void> {
    return this.#inTurn(async () => {
      await this.options.flushAll();
      await this.#writeBitmaps();
    });
  }

  /** A component is behind from now on. Called when it has been dropped; resolves when that is durable. */
  recordLoss(): Promise<void> {
    this.#losses += 1;
    return this.lossesRecorded();
  }

  /** Resolves when every loss so far is durable; rejects if that failed, and the next call tries it again. */
  lossesRecorded(): Promise<void> {
    return this.#inTurn(async () => {
      const losses = this.#losses;
      if (losses === this.#recordedLosses) return;
      const lostAt = [...this.#state.lostAt];
      let isNew = false;
      for (const component of this.options.components.all) {
        const { slot } = component.identity;
        if (component.takesWrites || (lostAt[slot] !== NO_UUID && !this.#claiming.has(slot))) continue;
        this.#claiming.delete(slot);
        lostAt[slot] = this.#state.current;
        isNew = true;
      }
      if (isNew) this.#state = { ...this.#nextGeneration(), lostAt, syncid: this.#state.syncid + 1 };
      await this.#everywhere((store, component) => this.#writeIdentity(store, component));
      await this.#everywhere((store) => store.flush());
      this.#recordedLosses = losses;
    });
  }

  /** A component that is behind has come: from now on it says itself that its data is a mixture. */
  beginResync(component: Component, extents: readonly number[]): Promise<void> {
    return this.#inTurn(async () => {
      const { store } = component;
      // What others miss it may not know yet; once it is in step it may be the only one that could.
      await this.#tellBitmaps(component);
      await this.#writeIdentity(store, component);
      await store.writeLog(extents);
      await store.flush();
    });
  }

  /** It has everything, flushed. First it says so itself, then the others do. */
  endResync(component: Component): Promise<void> {
    return this.#inTurn(async () => {
      const { slot } = component.identity;
      const lostAt = this.#state.lostAt.with(slot, NO_UUID);
      const { store } = component;
      // If it is lost from here on it counts as lost anew, or it could later pass for one that misses nothing.
      this.#claiming.add(slot);
      await store.writeSuperblock({ ...this.#change({ ...this.#state, lostAt }), isInconsistent: false });
      await store.writeLabel(this.#label(false));
      await store.flush();
      this.#state = { ...this.#state, lostAt };
      await this.#everywhere((other, who) =>
        who === component ? Promise.resolve() : this.#writeIdentity(other, who),
      );
      await this.#writeBitmaps();
      await this.#everywhere((other) => other.flush());
      this.#claiming.delete(slot);
    });
  }

  /**
   * At a start: who is behind is marked on stable storage before the superblock says that the log, which may have said
   * so until now, means nothing any more.
   */
  begin(): Promise<void> {
    return this.#inTurn(async () => {
      await this.#writeBitmaps();
      await this.#everywhere((store, component) => this.#writeIdentity(store, component));
      await this.#everywhere((store) => store.flush());
    });
  }

  /** Everything that is remembered, to every component: at the end. */
  writeAll(): Promise<void> {
    return this.#inTurn(async () => {
      await this.#everywhere((store, component) => this.#writeIdentity(store, component));
      await this.#writeBitmaps();
      await this.#everywhere((store) => store.flush());
    });
  }

  /** A new generation, as when a mirror goes on without a component or is promoted. */
  #nextGeneration(): JournalState {
    const { current, history } = this.#state;
    return {
      ...this.#state,
      current: this.options.random.nextBytes(UUID_BYTES).toString('hex'),
      history: [current, ...history].slice(0, HISTORY_COUNT),
    };
  }

  async #writeBitmaps(): Promise<void> {
    for (const component of this.options.components.all) {
      const bitmap = this.#bitmapOf(component);
      if (bitmap === null) continue;
      const pages = bitmap.takeChangedPages();
      if (pages.length === 0) continue;
      const { slot } = component.identity;
      try {
        await this.#everywhere((store) => store.writeBitmap(slot, bitmap, pages));
      } catch (error) {
        for (const page of pages) bitmap.retakePage(page);
        throw error;
      }
    }
    await this.#everywhere((store) => store.flush());
  }

  /** All that the others may miss, to one that was not there when it was written down. */
  async #tellBitmaps(newcomer: Component): Promise<void> {
    for (const component of this.options.components.all) {
      const bitmap = component === newcomer ? null : this.#bitmapOf(component);
      const pages = bitmap?.markedPages() ?? [];
      if (bitmap !== null && pages.length > 0) {
        await newcomer.store.writeBitmap(component.identity.slot, bitmap, pages);
      }
    }
  }

  /** What `component` may miss, as the others are to remember it; null if that is nothing new. */
  #bitmapOf(component: Component): RegionBitmap | null {
    if (!component.isConnected || component.can.flush) return component.missing;
    // What was written to a component that can't flush stays suspect for as long as it is there.
    const both = new RegionBitmap(this.options.mediaSizeBytes);
    both.union(component.missing);
    both.union(component.unflushed);
    return both;
  }

  #writeIdentity(store: MetaStore, component: Component): Promise<void> {
    const isResyncing = component.state !== 'ACTIVE';
    // The target of a resync keeps the generation of its data until it has all of the new one.
    const { current, history, ...rest } = this.#change(this.#state);
    const change: SuperblockChange = isResyncing
      ? { ...rest, isInconsistent: true }
      : { ...rest, current, history, isInconsistent: false };
    return store.writeSuperblock(change).then(() => store.writeLabel(this.#label(isResyncing)));
  }

  #change(
    state: JournalState,
  ): Required<Pick<SuperblockChange, 'current' | 'history' | 'isRunning' | 'slots' | 'genid' | 'syncid'>> {
    const { current, history, genid, syncid } = state;
    return { current, history, isRunning: this.#isRunning, slots: this.#slots(state), genid, syncid };
  }

  #slots(state: JournalState): SlotRecord[] {
    const slots: SlotRecord[] = Array.from({ length: SLOT_COUNT }, () => FREE_SLOT);
    for (const component of this.options.components.all) {
      const { slot, uuid } = component.identity;
      const lostAt = state.lostAt[slot] ?? NO_UUID;
      const isSuspect = component.isConnected && !component.can.flush;
      slots[slot] = {
        componentUuid: uuid,
        lostAt,
        isMarked: lostAt !== NO_UUID || isSuspect,
        isFull: component.isFull,
      };
    }
    return slots;
  }

  #label(isSynchronizing: boolean): LabelState {
    const { genid, syncid } = this.#state;
    return { genid, syncid, isDirty: this.#isRunning, isSynchronizing };
  }

  /** On all that take writes, at the same time. Rejects if no ACTIVE one has done it. */
  async #everywhere(step: (store: MetaStore, component: Component) => Promise<void>): Promise<void> {
    const targets = this.options.components.all.filter((component) => component.takesWrites);
    const outcomes = await Promise.allSettled(targets.map((component) => step(component.store, component)));
    const isHeld = outcomes.some(
      ({ status }, index) => status === 'fulfilled' && targets[index]?.state === 'ACTIVE',
    );
    const failures = targets.flatMap((component, index) => {
      const outcome = outcomes[index];
      return outcome?.status === 'rejected' ? [toFailure(component, outcome.reason)] : [];
    });
    for (const { component, error } of failures) this.options.failed(component, error);
    if (isHeld) return;
    throw failures[0]?.error ?? new DeviceError('DEVICE_LOST', 'ENXIO', 'the mirror has no ACTIVE component');
  }

  #inTurn<Result>(run: () => Promise<Result>): Promise<Result> {
    const mine = this.#last.then(run);
    this.#last = mine.catch(() => undefined);
    return mine;
  }
}

function toFailure(component: Component, reason: unknown): { component: Component; error: DeviceError } {
  const message = `${component.name}: its private area or label can't be written`;
  const error =
    reason instanceof DeviceError ? reason : new DeviceError('DEVICE_IO', 'EIO', message, { cause: reason });
  return { component, error };
}
