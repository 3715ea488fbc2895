import type { Component } from '../src/mirror/component.js';
import { EXTENT_SIZE_BYTES } from '../src/protocol/area-layout.js';
import { REGION_SIZE_BYTES } from '../src/protocol/geometry.js';
import { SECTOR_BYTES } from './disk.js';
import type { WriteRecord } from './registers.js';

/** What one component may have to be copied, by what the client did. */
interface Account {
  /** When the client's last good flush began, in the order of the world. */
  flushedAt: number;
  /** The same when it fell behind; null while it is in step. */
  behindSince: number | null;
  /**
   * Those that a log may have had when the mirror crashed, until a good flush of the client finds all in step: the run
   * before may have left them in a cache, of which a later flush is the first that fails, or had failed in the crash.
   */
  readonly extents: Set<number>;
  /** What it has noted itself, each time that it was lost while it was copied to, and in each crash; until it is in step. */
  strays: Stray[];
  /** Somebody asked for a copy of everything. */
  isAllWanted: boolean;
  /** Its resync, from its beginning on; null without any. */
  copying: Copying | null;
}

/** The own account of one that was lost: it counts when who copies to it next is not known to it as one in step. */
interface Stray {
  /** Those in step then. */
  readonly inStep: readonly number[];
  readonly regions: ReadonlySet<number>;
  /** Somebody had asked for a copy of everything to one of those that it has notes of. */
  readonly isAll: boolean;
}

interface Crash {
  /** Those that the log on the disks may have. */
  readonly extents: Iterable<number>;
  /** Those in step. */
  readonly inStep: readonly number[];
  /** Those that were given up, and nobody has noted it. */
  readonly unnoted: readonly number[];
}

interface Copying {
  /** When it began, in the order of the world, and how much had been written to its disk then. */
  readonly beganAt: number;
  readonly writtenBytes: number;
  markedBytes: number;
}

interface Beginning {
  readonly inStep: readonly number[];
  readonly now: number;
  readonly writtenBytes: number;
}

const EXTENT_REGIONS = EXTENT_SIZE_BYTES / REGION_SIZE_BYTES;

/**
 * Bounds what a resync may copy. Marked may be what was written and not flushed when its component was lost, what was
 * written since, and what was not flushed when a flush failed; after a crash also what the log said then. And no more is
 * written to a disk than what was marked and what the client writes meanwhile.
 */
export class Budget {
  readonly #writes: WriteRecord[] = [];
  /** Of those: a flush has failed since they were answered, and no good one has found all in step since. */
  readonly #unsure = new Set<WriteRecord>();
  readonly #accounts: readonly Account[];

  /** Components are given by the index of their host. `isWhole`: all are in step, and none of them is in doubt. */
  constructor(
    hostCount: number,
    private readonly isWhole: () => boolean = () => false,
    /** False where one can't flush: whatever that was ever sent may have to be copied once more. */
    private readonly isBounded = true,
  ) {
    this.#accounts = Array.from({ length: hostCount }, () => ({
      flushedAt: 0,
      behindSince: null,
      extents: new Set<number>(),
      strays: [],
      isAllWanted: false,
      copying: null,
    }));
  }

  wrote(write: WriteRecord): void {
    this.#writes.push(write);
  }

  /** The client's flush, which began then, has succeeded. */
  flushed(startedAt: number): void {
    for (const account of this.#accounts) account.flushedAt = Math.max(account.flushedAt, startedAt);
    if (!this.isWhole()) return;
    for (const { extents } of this.#accounts) extents.clear();
    for (const write of this.#unsure) if (write.endedAt < startedAt) this.#unsure.delete(write);
  }

  /** What was not flushed may be in a cache only, for good. At a crash a flush may have failed that nobody was told of. */
  flushFailed(): void {
    const flushedAt = Math.min(...this.#accounts.map((account) => account.flushedAt));
    for (const write of this.#writes) if (write.endedAt >= flushedAt) this.#unsure.add(write);
  }

  wantsAll(index: number): void {
    const account = this.#accounts[index];
    if (account !== undefined) account.isAllWanted = true;
  }

  lost(index: number): void {
    const account = this.#accounts[index];
    if (account !== undefined) account.behindSince ??= account.flushedAt;
  }

  /**
   * One that was copied to has been lost. In its own log are these extents, and in its bitmaps what others missed then that
   * were not in step either; whoever copies to it later may have to hear it.
   */
  lostAsMixture(index: number, hotExtents: Iterable<number>, inStep: readonly number[]): void {
    this.lost(index);
    const account = this.#accounts[index];
    if (account === undefined) return;
    this.#noteStray(account, hotExtents, inStep);
  }

  #noteStray(account: Account, hotExtents: Iterable<number>, inStep: readonly number[]): void {
    const regions = new Set<number>();
    let isAll = false;
    for (const extent of hotExtents) for (const region of regionsIn(extent)) regions.add(region);
    for (const other of this.#accounts) {
      if (other === account || other.behindSince === null) continue;
      isAll ||= isAllAllowed(other, inStep);
      for (const region of this.#allowed(other, inStep)) regions.add(region);
    }
    account.strays.push({ inStep, regions, isAll });
  }

  /** The log on the disks may have these extents, or those of writes that are under way. */
  crashed({ extents, inStep, unnoted }: Crash): void {
    this.flushFailed();
    const hot = new Set(extents);
    for (const write of this.#writes)
      if (write.endedAt === Infinity)
        for (const region of regionsOf(write)) hot.add(Math.floor(region / EXTENT_REGIONS));
    // Who goes together has noted nothing of each other.
    for (const [index, account] of this.#accounts.entries()) {
      const isThere = account.behindSince === null || account.copying !== null;
      if (isThere || unnoted.includes(index)) this.#noteStray(account, hot, inStep);
    }
    for (const [index, account] of this.#accounts.entries()) {
      this.lost(index);
      account.copying = null;
      for (const extent of hot) account.extents.add(extent);
    }
  }

  inStep(index: number): void {
    const account = this.#accounts[index];
    if (account === undefined) return;
    Object.assign(account, { behindSince: null, strays: [], isAllWanted: false, copying: null });
  }

  /**
   * A resync begins; what it would copy without need, null if nothing. `inStep` are those from whom it copies, `now` is in
   * the order of the world, `writtenBytes` how much has been written to the component's disk so far.
   */
  begins(
    index: number,
    { name, missing }: Component,
    { inStep, now, writtenBytes }: Beginning,
  ): string | null {
    const account = this.#accounts[index];
    if (account === undefined) return null;
    account.copying = { beganAt: now, writtenBytes, markedBytes: missing.countMarked * REGION_SIZE_BYTES };
    if (!this.isBounded || isAllAllowed(account, inStep)) return null;
    const allowed = this.#allowed(account, inStep);
    const tooMuch: number[] = [];
    for (let region = 0; region < missing.regionCount; region++)
      if (missing.isMarked(region) && !allowed.has(region)) tooMuch.push(region);
    if (tooMuch.length === 0) return null;
    return `the resync of ${name} copies ${tooMuch.length} regions in which nothing was written, as region ${tooMuch[0] ?? 0}`;
  }

  /** One that failed as the only good copy is: whoever was copied to from it gets what it may not have had once more. */
  writtenAnew({ missing }: Component): void {
    for (const { copying } of this.#accounts)
      if (copying !== null) copying.markedBytes += missing.countMarked * REGION_SIZE_BYTES;
  }

  /** The resync has ended, one way or the other: what is wrong with how much it wrote, null if nothing is. */
  ends(index: number, writtenBytes: number): string | null {
    const account = this.#accounts[index];
    const copying = account?.copying ?? null;
    if (account === undefined || copying === null) return null;
    account.copying = null;
    let allowedBytes = copying.markedBytes;
    for (const write of this.#writes) {
      const isBeside = write.endedAt >= copying.beganAt;
      if (isBeside) allowedBytes += write.sectorCount * SECTOR_BYTES;
      // Of one that nobody took, or that its only taker could not flush, the resync copies the regions once more.
      if (isBeside || this.#unsure.has(write)) allowedBytes += regionsOf(write).length * REGION_SIZE_BYTES;
    }
    const copiedBytes = writtenBytes - copying.writtenBytes;
    if (copiedBytes <= allowedBytes) return null;
    return `a resync wrote ${copiedBytes} bytes, and no more than ${allowedBytes} were marked or written by the client`;
  }

  #allowed(
    { flushedAt, behindSince, extents, strays }: Account,
    inStep: readonly number[],
  ): ReadonlySet<number> {
    const allowed = new Set<number>();
    for (const write of this.#writes) {
      if (write.endedAt < (behindSince ?? flushedAt) && !this.#unsure.has(write)) continue;
      for (const region of regionsOf(write)) allowed.add(region);
    }
    for (const extent of extents) for (const region of regionsIn(extent)) allowed.add(region);
    for (const stray of strays)
      if (counts(stray, inStep)) for (const region of stray.regions) allowed.add(region);
    return allowed;
  }
}

/** Whether it is heard when these copy to it. */
const counts = (stray: Stray, inStep: readonly number[]): boolean =>
  !inStep.every((one) => stray.inStep.includes(one));

const isAllAllowed = ({ isAllWanted, strays }: Account, inStep: readonly number[]): boolean =>
  isAllWanted || strays.some((stray) => stray.isAll && counts(stray, inStep));

const regionsIn = (extent: number): number[] =>
  Array.from({ length: EXTENT_REGIONS }, (_, at) => extent * EXTENT_REGIONS + at);

function regionsOf({ firstSector, sectorCount }: WriteRecord): number[] {
  const first = Math.floor((firstSector * SECTOR_BYTES) / REGION_SIZE_BYTES);
  const last = Math.floor(((firstSector + sectorCount) * SECTOR_BYTES - 1) / REGION_SIZE_BYTES);
  return Array.from({ length: last - first + 1 }, (_, at) => first + at);
}
