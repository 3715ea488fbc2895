import { NO_UUID, type SlotRecord, type Uuid } from '../../protocol/superblock.js';
import type { Component } from '../component.js';
import type { Side } from '../decide/pair-facts.js';
import { everywhere, type StoreStep } from './everywhere.js';
import { Generations } from './generations.js';
import { doubtfulOf, noteDoubts, putBitmaps, tellBitmaps } from './journal-bitmaps.js';
import type { JournalOptions, MemberChange } from './journal-options.js';
import {
  labelStateOf,
  sideOf,
  slotTable,
  stateFor,
  type IdentityChange,
  type JournalState,
} from './journal-state.js';
import type { LabelState, MetaStore, SuperblockChange } from '../area/meta-store.js';
import { Turns } from '../turns.js';

export type { JournalState } from './journal-state.js';

/**
 * Puts on stable storage what must be there before something else happens: on every component that takes writes, one
 * thing after another. A step holds when an ACTIVE component has it; those that failed are dropped, and that is
 * recorded next.
 */
export class Journal {
  readonly #generations: Generations;
  #isRunning = false;
  /** Every superblock says so, on stable storage; after a failure nobody knows. */
  #isRunningTold = true;
  /** What was last written as hot, to whoever took writes then. */
  #logged: readonly number[] = [];
  /** Losses so far, and how many of them all superblocks tell of. */
  #losses = 0;
  #recordedLosses = 0;
  /** Components still, but not any more in what is written. */
  #leaving: readonly Component[] = [];
  readonly #turns = new Turns(() =>
    noteDoubts(this.options.components.active, (component) =>
      this.#writeIdentity(component.store, component),
    ),
  );

  constructor(
    private readonly options: JournalOptions,
    state: JournalState,
  ) {
    this.#generations = new Generations(state, options.random);
  }

  get state(): JournalState {
    return this.#generations.state;
  }

  /** Until that is over nothing may be answered: a crash would take a stale component for a good one. */
  get isLossPending(): boolean {
    return this.#losses > this.#recordedLosses;
  }

  /** Until beginGeneration() is done nothing may be written. */
  get mustBegin(): boolean {
    return this.#generations.mustBegin;
  }

  /** Before the first write after a loss. Rejects if that can't be made durable; the next call tries it again. */
  beginGeneration(): Promise<void> {
    return this.#turns.run(async () => {
      if (this.mustBegin) await this.#startGeneration();
    });
  }

  /** The mirror as the component in `slot`, which is ACTIVE, stands for it. */
  side(slot: number): Side {
    return sideOf(slot, this.state, this.slots);
  }

  /** The set of hot extents; with the first one the run begins, with none it is clean. */
  commitLog(extents: readonly number[]): Promise<void> {
    return this.#turns.run(async () => {
      if (this.isLossPending) await this.#recordLosses();
      const isRunning = extents.length > 0;
      const isNew = !this.#isRunningTold || this.#isRunning !== isRunning;
      this.#isRunningTold = false;
      this.#isRunning ||= isRunning;
      if (isNew && isRunning) await this.#writeIdentities();
      this.#logged = extents;
      await this.#everywhere((store) => store.writeLog(extents));
      await this.#everywhere((store) => store.flush());
      if (isNew && !isRunning) {
        this.#isRunning = false;
        await this.#writeIdentities();
        await this.#everywhere((store) => store.flush());
      }
      this.#isRunningTold = true;
    });
  }

  /** Before extents leave the log: what was written there is flushed, and who misses it is marked. */
  retire(): Promise<void> {
    return this.#turns.run(() => this.options.flushAll().then(() => this.#writeBitmaps()));
  }

  /** A component is about to be dropped, or doubtful: nothing is answered until that is recorded. */
  readonly expectLoss = (): number => (this.#losses += 1);

  /** A component is behind from now on. Called when it has been dropped; resolves when that is durable. */
  recordLoss(): Promise<void> {
    this.#losses += 1;
    return this.lossesRecorded();
  }

  /** Resolves when every loss so far is durable; rejects if that failed, and the next call tries it again. */
  lossesRecorded(): Promise<void> {
    return this.#turns.run(() => this.#recordLosses());
  }

  async #recordLosses(): Promise<void> {
    const losses = this.#losses;
    if (losses === this.#recordedLosses) return;
    // Of one that doubts itself no log tells what it may not have.
    if (doubtfulOf(this.options.components.active).length > 0) await this.#writeBitmaps();
    if (this.#generations.noteLosses(this.options.components.all)) await this.#startGeneration();
    else await this.#publish();
    this.#recordedLosses = losses;
  }

  /**
   * Components come or go, in a new generation: of two superblocks that disagree, the newer one tells who is a component.
   * Who joins has `lostAt` in its own superblock, and is in the set from before this is written; who leaves until it is
   * on stable storage, so that what it misses is not forgotten if this fails.
   */
  changeMembers({ joins, leave }: MemberChange): Promise<void> {
    const { components } = this.options;
    return this.#turns.run(async () => {
      const before = this.state;
      let { lostAt } = before;
      if (joins !== undefined) {
        lostAt = lostAt.with(joins.component.identity.slot, joins.lostAt);
        components.add(joins.component);
      }
      this.#leaving = leave;
      for (const { identity } of leave) lostAt = lostAt.with(identity.slot, NO_UUID);
      try {
        const ids = this.#generations.idsOfMembers({ isJoined: joins !== undefined });
        await this.#startGeneration({ lostAt, ...ids });
        components.remove(leave);
      } catch (error) {
        this.#generations.revert(before);
        if (joins !== undefined) components.remove([joins.component]);
        throw error;
      } finally {
        this.#leaving = [];
      }
    });
  }

  /**
   * A component that is behind has come, and is about to be copied to: what it misses, by its own account too, is on
   * stable storage here before its own account is overwritten, and so is the generation by which it is known again.
   */
  acceptTarget(component: Component): Promise<void> {
    return this.#turns.run(async () => {
      await this.#writeBitmaps();
      if (!component.isConnected) return;
      this.#generations.accept(component);
      // From here on its bits tell how far the copy has come.
      component.isFull = false;
      // What is given up must not pass for newer than what is here.
      if (this.#generations.noteFailed(component) || component.isDiscarded) await this.#startGeneration();
      else await this.#publish();
      component.isDiscarded = false;
    });
  }

  /** What components miss, as it is now. Nobody waits until it is flushed. */
  saveMarks(): Promise<void> {
    return this.#turns.run(() => this.#putBitmaps());
  }

  /** After acceptTarget(): from now on it says itself that its data is a mixture, and its log says what the others' do. */
  beginResync(component: Component): Promise<void> {
    return this.#turns.run(async () => {
      if (!component.takesWrites) return; // Lost, and perhaps back: then its own account is to be heard first.
      const { store } = component;
      // Once it is in step it may be the only one that could know what others miss.
      await tellBitmaps(store, this.options.components.all);
      await this.#writeIdentity(store, component);
      await store.writeLog(this.#logged);
      await store.flush();
    });
  }

  /** It has everything, flushed. First it says so itself, then the others do. */
  endResync(component: Component): Promise<void> {
    return this.#turns.run(async () => {
      const { store, identity } = component;
      // If nobody can be told that it is in step, it must not say so: later it could pass for one that went its own way.
      await this.#everywhere((other) => other.flush());
      // If it is lost from here on it counts as lost anew, or it could later pass for one that misses nothing.
      this.#generations.claim(identity.slot);
      const inStep = { ...this.state, lostAt: this.state.lostAt.with(identity.slot, NO_UUID) };
      await store.writeSuperblock({ ...this.#change(inStep, component), isInconsistent: false });
      await store.writeLabel(this.#label(component, false));
      await store.flush();
      this.#generations.claimed(identity.slot);
      await this.#everywhere((other, who) =>
        who === component ? Promise.resolve() : this.#writeIdentity(other, who),
      );
      await this.#writeBitmaps();
      await this.#everywhere((other) => other.flush());
      this.#generations.joined(identity.slot);
    });
  }

  /**
   * All marks, and then what superblocks say of them: when a component that is in step was found to differ, or one that
   * is not comes into use.
   */
  recordMarks(): Promise<void> {
    return this.#turns.run(async () => {
      await this.#writeBitmaps();
      await this.#publish();
    });
  }

  /**
   * At a start: who is behind is marked on stable storage before the superblock says that the log, which may have said
   * so until now, means nothing any more. `isOutside`: the data is of no generation that anybody knows.
   */
  begin({ isOutside }: { readonly isOutside: boolean }): Promise<void> {
    return this.#turns.run(async () => {
      await this.#writeBitmaps();
      if (isOutside || this.#generations.mayDiffer(this.options.components.all))
        await this.#startGeneration();
      else await this.#publish();
    });
  }

  /** Everything that is remembered, to every component: at the end. */
  writeAll(): Promise<void> {
    return this.#turns.run(async () => {
      await this.#publish();
      await this.#writeBitmaps();
    });
  }

  async #startGeneration(change: Partial<JournalState> | null = null): Promise<void> {
    this.#generations.moveOn(this.options.components.all, change);
    await this.#publish();
    this.#generations.begun();
  }

  /**
   * Superblocks and labels. A new generation is published twice where several components are in step: until each is known
   * to have it, the others say that it was lost at the one before, since a crash may leave it there.
   */
  async #publish(): Promise<void> {
    const { active } = this.options.components;
    const { current } = this.state;
    const isEarly = ({ identity }: Component): boolean =>
      this.#generations.confirmedOf(identity.slot) !== current;
    if (active.length > 1 && active.some(isEarly)) await this.#publishOnce();
    await this.#publishOnce();
  }

  async #publishOnce(): Promise<void> {
    const { current } = this.state;
    await this.#writeIdentities();
    await this.#everywhere(async (store, component) => {
      await store.flush();
      if (component.state === 'ACTIVE') this.#generations.confirm(component.identity.slot, current);
    });
  }

  async #writeBitmaps(): Promise<void> {
    await this.#putBitmaps();
    await this.#everywhere((store) => store.flush());
  }

  #putBitmaps(): Promise<void> {
    return putBitmaps(this.options.components.all, (step) => this.#everywhere(step));
  }

  #writeIdentity(store: MetaStore, component: Component): Promise<void> {
    const isResyncing = component.state !== 'ACTIVE';
    // The target of a resync keeps the generation of its data until it has all of the new one.
    const { current, history, ...rest } = this.#change(stateFor(component, this.state), component);
    const change: SuperblockChange = isResyncing
      ? { ...rest, isInconsistent: true }
      : { ...rest, current, history, isInconsistent: false };
    return store.writeSuperblock(change).then(() => store.writeLabel(this.#label(component, isResyncing)));
  }

  #change(state: JournalState, writer: Component): IdentityChange {
    const { current, history, genid, syncid } = state;
    const slots = this.#slotsFor(writer, state);
    return { current, history, isRunning: this.#isRunning, slots, genid, syncid };
  }

  /** The table of components, as superblocks are to have it. */
  get slots(): readonly SlotRecord[] {
    return this.#slotsFor(null, this.state);
  }

  #slotsFor(writer: Component | null, state: JournalState): SlotRecord[] {
    const confirmed = (slot: number): Uuid => this.#generations.confirmedOf(slot);
    return slotTable(this.#members, { state, writer, confirmed });
  }

  #label(component: Component, isSynchronizing: boolean): LabelState {
    return labelStateOf(component, {
      state: isSynchronizing ? stateFor(component, this.state) : this.state,
      isRunning: this.#isRunning,
      isSynchronizing,
      all: this.#members.length,
      settings: this.options.settings(),
    });
  }

  get #members(): readonly Component[] {
    return this.options.components.all.filter((component) => !this.#leaving.includes(component));
  }

  readonly #writeIdentities = () => this.#everywhere((store, who) => this.#writeIdentity(store, who));

  #everywhere(step: StoreStep): Promise<void> {
    return everywhere(this.options.components.all, step, this.options.failed);
  }
}
