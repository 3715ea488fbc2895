import { DeviceError } from '../device/block-device.js';
import type { RandomSource } from '../device/random.js';
import { HISTORY_COUNT, NO_UUID, type SlotRecord, type Uuid } from '../protocol/superblock.js';
import type { Component } from './component.js';
import type { ComponentSet } from './component-set.js';
import { newUuid } from './ids.js';
import { bitmapOf, labelStateOf, slotTable, toFailure, type JournalState } from './journal-state.js';
import type { LabelState, MetaStore, MirrorSettings, SuperblockChange } from './meta-store.js';
import { Turns } from './turns.js';

export type { JournalState } from './journal-state.js';

export interface JournalOptions {
  readonly components: ComponentSet;
  /** What labels are to say besides; null to leave them as they are. */
  readonly settings: () => MirrorSettings | null;
  readonly mediaSizeBytes: number;
  readonly random: RandomSource;
  /** A component failed to keep what it was told; drop it. Never the last ACTIVE one. */
  readonly failed: (component: Component, error: DeviceError) => void;
  /** Flushes the data of every component that can, and waits for it. */
  readonly flushAll: () => Promise<void>;
}

/** Those of `leave` take no writes. */
export interface MemberChange {
  /** A component in a free slot that is not there yet. */
  readonly joins?: { readonly component: Component; readonly lostAt: Uuid };
  readonly leave: readonly Component[];
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
  /** Components still, but not any more in what is written. */
  #leaving: readonly Component[] = [];
  /** Slots of resync targets that may say on stable storage that they are in step, while the others do not yet. */
  readonly #claiming = new Set<number>();
  readonly #turns = new Turns();

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
    return this.#turns.run(async () => {
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
    return this.#turns.run(async () => {
      await this.options.flushAll();
      await this.#writeBitmaps();
    });
  }

  /** A component is about to be dropped: nothing is answered until recordLoss() has been called and is through. */
  readonly expectLoss = (): number => (this.#losses += 1);

  /** A component is behind from now on. Called when it has been dropped; resolves when that is durable. */
  recordLoss(): Promise<void> {
    this.#losses += 1;
    return this.lossesRecorded();
  }

  /** Resolves when every loss so far is durable; rejects if that failed, and the next call tries it again. */
  lossesRecorded(): Promise<void> {
    return this.#turns.run(async () => {
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

  /**
   * Components come or go, and that begins a new generation: of two superblocks that disagree, the newer one tells who is
   * a component. Who joins has `lostAt` in its own superblock, and is in the set from before this is written; who leaves
   * until it is on stable storage, so that what it misses is not forgotten if this fails.
   */
  changeMembers({ joins, leave }: MemberChange): Promise<void> {
    const { components } = this.options;
    return this.#turns.run(async () => {
      const before = this.#state;
      let { lostAt } = before;
      if (joins !== undefined) {
        lostAt = lostAt.with(joins.component.identity.slot, joins.lostAt);
        components.add(joins.component);
      }
      this.#leaving = leave;
      for (const { identity } of leave) lostAt = lostAt.with(identity.slot, NO_UUID);
      this.#state = { ...this.#nextGeneration(), lostAt };
      try {
        await this.#everywhere((store, component) => this.#writeIdentity(store, component));
        await this.#everywhere((store) => store.flush());
        components.remove(leave);
      } catch (error) {
        this.#state = { ...this.#state, lostAt: before.lostAt };
        if (joins !== undefined) components.remove([joins.component]);
        throw error;
      } finally {
        this.#leaving = [];
      }
    });
  }

  /**
   * Before everything is copied to a component: all its regions are marked on stable storage, and from then on the marks
   * tell what is left to be copied, where FULL would mean to begin anew after a crash. It is the one that has the
   * generation of this very component from then on; another one in its place is not.
   */
  trustMarks(component: Component): Promise<void> {
    return this.#turns.run(async () => {
      await this.#writeBitmaps();
      const lostAt = this.#state.lostAt.with(component.identity.slot, component.store.superblock.current);
      this.#state = { ...this.#state, lostAt };
      component.isFull = false;
      await this.#everywhere((store, who) => this.#writeIdentity(store, who));
      await this.#everywhere((store) => store.flush());
    });
  }

  /** What components miss, as it is now. Nobody waits until it is flushed. */
  saveMarks(): Promise<void> {
    return this.#turns.run(() => this.#putBitmaps());
  }

  /** A component that is behind has come: from now on it says itself that its data is a mixture. */
  beginResync(component: Component, extents: readonly number[]): Promise<void> {
    return this.#turns.run(async () => {
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
    return this.#turns.run(async () => {
      const { slot } = component.identity;
      const lostAt = this.#state.lostAt.with(slot, NO_UUID);
      const { store } = component;
      // If it is lost from here on it counts as lost anew, or it could later pass for one that misses nothing.
      this.#claiming.add(slot);
      await store.writeSuperblock({ ...this.#change({ ...this.#state, lostAt }), isInconsistent: false });
      await store.writeLabel(this.#label(component, false));
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
   * All marks, and then what superblocks say of them. At a start: who is behind is marked on stable storage before the
   * superblock says that the log, which may have said so until now, means nothing any more. And when a component that is
   * in step was found to differ.
   */
  recordMarks(): Promise<void> {
    return this.#turns.run(async () => {
      await this.#writeBitmaps();
      await this.#everywhere((store, component) => this.#writeIdentity(store, component));
      await this.#everywhere((store) => store.flush());
    });
  }

  /** Everything that is remembered, to every component: at the end. */
  writeAll(): Promise<void> {
    return this.#turns.run(async () => {
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
      current: newUuid(this.options.random),
      history: [current, ...history].slice(0, HISTORY_COUNT),
    };
  }

  async #writeBitmaps(): Promise<void> {
    await this.#putBitmaps();
    await this.#everywhere((store) => store.flush());
  }

  async #putBitmaps(): Promise<void> {
    for (const component of this.options.components.all) {
      const bitmap = bitmapOf(component, this.options.mediaSizeBytes);
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
  }

  /** All that the others may miss, to one that was not there when it was written down. */
  async #tellBitmaps(newcomer: Component): Promise<void> {
    for (const component of this.options.components.all) {
      if (component === newcomer) continue;
      const bitmap = bitmapOf(component, this.options.mediaSizeBytes);
      const pages = bitmap.markedPages();
      if (pages.length > 0) await newcomer.store.writeBitmap(component.identity.slot, bitmap, pages);
    }
  }

  #writeIdentity(store: MetaStore, component: Component): Promise<void> {
    const isResyncing = component.state !== 'ACTIVE';
    // The target of a resync keeps the generation of its data until it has all of the new one.
    const { current, history, ...rest } = this.#change(this.#state);
    const change: SuperblockChange = isResyncing
      ? { ...rest, isInconsistent: true }
      : { ...rest, current, history, isInconsistent: false };
    return store.writeSuperblock(change).then(() => store.writeLabel(this.#label(component, isResyncing)));
  }

  #change(
    state: JournalState,
  ): Required<Pick<SuperblockChange, 'current' | 'history' | 'isRunning' | 'slots' | 'genid' | 'syncid'>> {
    const { current, history, genid, syncid } = state;
    return {
      current,
      history,
      isRunning: this.#isRunning,
      slots: slotTable(this.#members, state),
      genid,
      syncid,
    };
  }

  /** The table of components, as superblocks are to have it. */
  get slots(): readonly SlotRecord[] {
    return slotTable(this.#members, this.#state);
  }

  #label(component: Component, isSynchronizing: boolean): LabelState {
    return labelStateOf(component, {
      state: this.#state,
      isRunning: this.#isRunning,
      isSynchronizing,
      all: this.#members.length,
      settings: this.options.settings(),
    });
  }

  get #members(): readonly Component[] {
    return this.options.components.all.filter((component) => !this.#leaving.includes(component));
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
}
