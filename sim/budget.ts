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
  /** The mirror has crashed since. */
  isCrashed: boolean;
  /** Somebody asked for a copy of everything. */
  isAllWanted: boolean;
}

/** Bounds what a resync may copy: never more than was written and not flushed, and after a crash the extents of that. */
export class Budget {
  readonly #writes: WriteRecord[] = [];
  /** Of those: a flush has failed since they were answered and before one succeeded. */
  readonly #unsure = new Set<WriteRecord>();
  readonly #accounts: readonly Account[];

  /** Components are given by the index of their host. */
  constructor(hostCount: number) {
    this.#accounts = Array.from({ length: hostCount }, () => ({
      flushedAt: 0,
      behindSince: null,
      isCrashed: false,
      isAllWanted: false,
    }));
  }

  wrote(write: WriteRecord): void {
    this.#writes.push(write);
  }

  /** The client's flush, which began then, has succeeded. */
  flushed(startedAt: number): void {
    for (const account of this.#accounts) account.flushedAt = Math.max(account.flushedAt, startedAt);
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

  crashed(): void {
    this.flushFailed();
    for (const [index, account] of this.#accounts.entries()) {
      this.lost(index);
      account.isCrashed = true;
    }
  }

  inStep(index: number): void {
    const account = this.#accounts[index];
    if (account !== undefined)
      Object.assign(account, { behindSince: null, isCrashed: false, isAllWanted: false });
  }

  /** What a resync that begins now would copy without need; null if nothing. */
  excess(index: number, { name, missing }: Component): string | null {
    const account = this.#accounts[index];
    if (account === undefined || account.isAllWanted) return null;
    const allowed = this.#allowed(account);
    const tooMuch: number[] = [];
    for (let region = 0; region < missing.regionCount; region++)
      if (missing.isMarked(region) && !allowed.has(region)) tooMuch.push(region);
    if (tooMuch.length === 0) return null;
    return `the resync of ${name} copies ${tooMuch.length} regions in which nothing was written, as region ${tooMuch[0] ?? 0}`;
  }

  #allowed({ flushedAt, behindSince, isCrashed }: Account): ReadonlySet<number> {
    const unitBytes = isCrashed ? EXTENT_SIZE_BYTES : REGION_SIZE_BYTES;
    const unitRegions = unitBytes / REGION_SIZE_BYTES;
    const allowed = new Set<number>();
    for (const write of this.#writes) {
      const { firstSector, sectorCount, endedAt } = write;
      if (!isCrashed && endedAt < (behindSince ?? flushedAt) && !this.#unsure.has(write)) continue;
      const first = Math.floor((firstSector * SECTOR_BYTES) / unitBytes);
      const last = Math.floor(((firstSector + sectorCount) * SECTOR_BYTES - 1) / unitBytes);
      for (let region = first * unitRegions; region < (last + 1) * unitRegions; region++) allowed.add(region);
    }
    return allowed;
  }
}
