import type { RandomSource } from '../../device/random.js';
import { HISTORY_COUNT, NO_UUID, type Uuid } from '../../protocol/superblock.js';
import type { Component } from '../component.js';
import { newUuid } from '../ids.js';
import type { JournalState } from './journal-state.js';

/**
 * The mirror's generations in memory: what they are to be next (docs/generations.md, "When a generation begins"). The
 * journal makes it last.
 */
export class Generations {
  #state: JournalState;
  /** By slot: the generation that a component in step is known to have on stable storage; else the present one. */
  readonly #confirmed = new Map<number, Uuid>();
  /** Slots of resync targets that may say on stable storage that they are in step, while the others do not yet. */
  readonly #claiming = new Set<number>();
  #mustBegin: boolean;
  /** The present one has not begun, and nobody was lost or came since who may have it too, or knows other things of it. */
  #isUnused = false;
  /** Somebody who failed has been lost in the present generation. */
  #hasBroken = false;

  constructor(
    state: JournalState,
    private readonly random: RandomSource,
  ) {
    this.#state = state;
    this.#mustBegin = state.lostAt.some((at) => at !== NO_UUID);
  }

  get state(): JournalState {
    return this.#state;
  }

  /**
   * Somebody who is behind may have the same data as is here, and call it by the same generation: before the data differs
   * a new one must begin.
   */
  get mustBegin(): boolean {
    return this.#mustBegin;
  }

  confirmedOf(slot: number): Uuid {
    return this.#confirmed.get(slot) ?? this.#state.current;
  }

  /** The component in `slot`, which is in step, has `generation` on stable storage. */
  confirm(slot: number, generation: Uuid): void {
    this.#confirmed.set(slot, generation);
  }

  /**
   * A new generation, with which other things may change. Labels tell the kernel of it as its own would: by genid that a
   * component failed, which it then leaves alone, by syncid that it only was not there, and is to be synchronized.
   *
   * One that could not begin is tried again where nothing speaks against it: the history is short, and whoever was lost
   * with one that has left it is a stranger when it comes.
   */
  moveOn(components: readonly Component[], change: Partial<JournalState> | null): void {
    if (this.#isUnused && !this.#hasBroken && change === null) return;
    const { current, history, genid, syncid } = this.#state;
    for (const { identity } of components) this.confirm(identity.slot, this.confirmedOf(identity.slot));
    this.#state = {
      ...this.#state,
      current: newUuid(this.random),
      history: [current, ...history].slice(0, HISTORY_COUNT),
      ...(this.#hasBroken ? { genid: genid + 1 } : { syncid: syncid + 1 }),
      ...change,
    };
    this.#hasBroken = false;
    this.#mustBegin = true;
    this.#isUnused = true;
  }

  /**
   * For a generation with other members: as the kernel has it, labels are not raised by that, but by a loss that is yet to
   * raise them. Who joins has genid 0, and what it reads may be in its cache only: ours must be newer (writeNewcomer()).
   */
  idsOfMembers({
    isJoined,
  }: {
    readonly isJoined: boolean;
  }): Partial<Pick<JournalState, 'genid' | 'syncid'>> {
    const { genid, syncid } = this.#state;
    const ids = this.#mustBegin ? {} : { genid, syncid };
    return isJoined && genid === 0 ? { ...ids, genid: 1 } : ids;
  }

  /** The present generation is on stable storage. */
  begun(): void {
    this.#mustBegin = false;
    this.#isUnused = false;
  }

  revert({ lostAt }: JournalState): void {
    this.#state = { ...this.#state, lostAt };
    this.#isUnused = false;
  }

  /**
   * Takes down who is lost and was not. True if a new generation must begin at once: one of them may already have other
   * data than is here, under the name of the present generation. Else it begins before the next write.
   */
  noteLosses(components: readonly Component[]): boolean {
    const lostAt = [...this.#state.lostAt];
    let isDue = false;
    for (const component of components) {
      const { slot } = component.identity;
      if (component.takesWrites) continue;
      const isClaiming = this.#claiming.delete(slot);
      const mayDiffer = component.missing.countMarked > 0;
      if (lostAt[slot] !== NO_UUID && !isClaiming) {
        // It has failed since: whoever starts the mirror next must not believe its cache.
        isDue = (mayDiffer && this.noteFailed(component)) || isDue;
        continue;
      }
      const confirmed = this.confirmedOf(slot);
      // Who was about to be in step may have become so, or may still be what it was.
      if (lostAt[slot] === NO_UUID) lostAt[slot] = confirmed;
      isDue ||= isClaiming || mayDiffer || confirmed !== this.#state.current;
      this.#mustBegin = true;
      this.#isUnused = false;
      this.#hasBroken ||= component.hasFailed;
    }
    this.#state = { ...this.#state, lostAt };
    return isDue;
  }

  /** Whether the data here may already differ from that of a component of the same generation that is behind. */
  mayDiffer(components: readonly Component[]): boolean {
    const { current, lostAt } = this.#state;
    return components.some(
      ({ identity, missing }) => lostAt[identity.slot] === current && missing.countMarked > 0,
    );
  }

  /**
   * A component that is behind, and whose own account counts no more, is known by the generation of its data. Of one that
   * is given up others may have got what nobody remembers from now on: those that are lost are heard when they come.
   */
  accept({ identity: { slot }, store, isDiscarded }: Component): void {
    const lostAt = this.#state.lostAt.with(slot, store.superblock.current);
    const isHeard = (other: number): boolean =>
      lostAt[other] !== NO_UUID && (isDiscarded || this.#state.unheard.includes(other));
    const unheard = [...lostAt.keys()].filter((other) => other !== slot && isHeard(other));
    this.#state = { ...this.#state, lostAt, unheard };
    this.#mustBegin ||= lostAt[slot] === this.#state.current;
    this.#isUnused = false;
  }

  /** True if it is yet to be told by a new generation that one has failed: its own genid must be the older one. */
  noteFailed({ isCacheDoubtful, hasFailed, genid }: Component): boolean {
    const isUntold = isCacheDoubtful && hasFailed && genid >= this.#state.genid;
    this.#hasBroken ||= isUntold;
    return isUntold;
  }

  /** A component may say from now on that it is in step, while the others do not. */
  claim(slot: number): void {
    this.#claiming.add(slot);
  }

  /** It has said so on stable storage. */
  claimed(slot: number): void {
    this.#state = { ...this.#state, lostAt: this.#state.lostAt.with(slot, NO_UUID) };
    this.confirm(slot, this.#state.current);
  }

  /** And the others say so too. */
  joined(slot: number): void {
    this.#claiming.delete(slot);
  }
}
