import { ZEROES } from './content.js';

export interface SectorRange {
  readonly firstSector: number;
  readonly sectorCount: number;
}

/** A write of the client, over all its sectors. Numbers of `At` are the world's order. */
export interface WriteRecord extends SectorRange {
  /** 0 for what was there at first. */
  readonly number: number;
  /** What its sectors say: the number again, or ZEROES. */
  readonly value: number;
  readonly issuedAt: number;
  /** When it was answered, or could no longer be; Infinity while it is under way. */
  endedAt: number;
}

/** A write as one sector may still have it. */
interface Candidate {
  readonly write: WriteRecord;
  /** The newest write that has certainly taken its place; null while it may be read. */
  successor: WriteRecord | null;
}

/** A value that was possible in a sector until then. */
interface Outdated {
  readonly value: number;
  readonly untilAt: number;
}

/** A disk's sector is made to say something else. */
export interface Overwrite {
  readonly sector: number;
  readonly before: number;
  /** When it was made to say that; 0 if it always did. */
  readonly beforeAt: number;
  readonly after: number;
  /** When the write that makes it so was begun. */
  readonly startedAt: number;
}

/** What a read found possible when it began. */
export interface ReadSnapshot extends SectorRange {
  readonly startedAt: number;
  readonly values: readonly ReadonlySet<number>[];
}

/**
 * What the client may find, sector by sector: each is a register that is written and read by one client with many
 * requests at a time. A read gives the newest write that ended before it began, or one that was under way with that or
 * with the read; what was once read of writes that have ended is not unread. What was answered and not flushed may go with the power, and only so.
 */
export class Registers {
  readonly #sectors = new Map<number, Candidate[]>();
  /** By sector: what has been replaced. */
  readonly #outdated = new Map<number, Outdated[]>();
  readonly #underWay = new Set<WriteRecord>();
  /** By number: all that there ever were. */
  readonly #writes = new Map<number, WriteRecord>();
  /** Writes issued before it, and not flushed until then, no flush can vouch for. */
  #failedFlushAt = 0;
  #goodFlushAt = 0;
  #powerLostAt = 0;

  /** What another history knows that goes on from here. Nothing may be under way. */
  copy(): Registers {
    const copy = new Registers();
    for (const [sector, candidates] of this.#sectors)
      copy.#sectors.set(
        sector,
        candidates.map((one) => ({ ...one })),
      );
    for (const [number, write] of this.#writes) copy.#writes.set(number, write);
    copy.#failedFlushAt = this.#failedFlushAt;
    copy.#goodFlushAt = this.#goodFlushAt;
    return copy;
  }

  issue(write: WriteRecord): void {
    this.#underWay.add(write);
    this.#writes.set(write.number, write);
    this.#each(write, (candidates) => {
      candidates.push({ write, successor: null });
    });
  }

  /** It was answered without an error. */
  acknowledge(write: WriteRecord, now: number): void {
    // The answer may be from before the loss, and what it tells of gone.
    if (write.issuedAt < this.#powerLostAt) {
      this.abort(write, now);
      return;
    }
    this.#underWay.delete(write);
    write.endedAt = now;
    this.#each(write, (candidates, sector) => {
      for (const candidate of candidates)
        if (candidate.write.endedAt < write.issuedAt) this.#replace(sector, candidate, write, now);
    });
  }

  /** It failed: it has happened, or not, or in part; and not later. */
  abort(write: WriteRecord, now: number): void {
    this.#underWay.delete(write);
    write.endedAt = now;
  }

  /** Nobody will ever answer what is under way. */
  abortAll(now: number): void {
    for (const write of [...this.#underWay]) this.abort(write, now);
  }

  /** A flush that began then succeeded. */
  flushed(startedAt: number): void {
    this.#goodFlushAt = Math.max(this.#goodFlushAt, startedAt);
    for (const candidates of this.#sectors.values()) {
      const kept = candidates.filter(({ successor }) => successor === null || !this.#isDurable(successor));
      if (kept.length < candidates.length) candidates.splice(0, candidates.length, ...kept);
    }
  }

  flushFailed(now: number): void {
    this.#failedFlushAt = now;
  }

  /**
   * What was not flushed may be gone, sector by sector, and of several writes any may be left. What is under way stays so:
   * whoever waits for it may send it again. With `now`, what was issued before then is not certain when it is answered.
   */
  powerLost(now = 0): void {
    this.#powerLostAt = Math.max(this.#powerLostAt, now);
    for (const candidates of this.#sectors.values())
      for (const candidate of candidates) candidate.successor = null;
  }

  startRead(range: SectorRange, now: number): ReadSnapshot {
    const values: ReadonlySet<number>[] = [];
    for (let at = 0; at < range.sectorCount; at++) {
      const candidates = this.#candidates(range.firstSector + at);
      values.push(
        new Set(candidates.filter(({ successor }) => successor === null).map(({ write }) => write.value)),
      );
    }
    return { ...range, startedAt: now, values };
  }

  /** What is wrong with finding `value` in sector number `at` of the read; null if nothing is. */
  endRead(snapshot: ReadSnapshot, at: number, value: number): string | null {
    const sector = snapshot.firstSector + at;
    const candidates = this.#candidates(sector);
    const isNew = ({ write }: Candidate): boolean =>
      write.issuedAt > snapshot.startedAt && write.value === value;
    const isPossible = snapshot.values[at]?.has(value) === true || candidates.some(isNew);
    if (!isPossible) return this.#explain(sector, value, candidates);
    // Whatever ended before this read began, and was not found, is not there any more; but a read beside a write that is
    // not answered yet binds nobody.
    const found = candidates.filter(
      ({ write }) => write.endedAt < snapshot.startedAt && write.value === value,
    );
    const newest = found.at(-1);
    if (newest === undefined) return null;
    for (const candidate of candidates) {
      if (candidate.write.value === value || candidate.successor !== null) continue;
      if (candidate.write.endedAt < snapshot.startedAt)
        this.#replace(sector, candidate, newest.write, snapshot.startedAt);
    }
    return null;
  }

  /**
   * What is wrong with a disk's sector that says `before` being made to say `after`; null if nothing is. Where a read might
   * find `after` nothing is: what is newer was never answered, or has gone with the power, or is what nobody has read when
   * something else was. Nor is anything where it was so when that write began, who asked for it has given it up since, and
   * it is put over what was there then and has been replaced as well.
   */
  regress({ sector, before, beforeAt, after, startedAt }: Overwrite): string | null {
    if (before === after) return null;
    const candidates = this.#candidates(sector);
    const isPossible = (value: number): boolean =>
      candidates.some(({ write, successor }) => write.value === value && successor === null);
    if (isPossible(after)) return null;
    const wasPossible = (value: number): boolean =>
      this.#outdated.get(sector)?.some((one) => one.value === value && one.untilAt > startedAt) === true;
    if (beforeAt < startedAt && wasPossible(after) && !isPossible(before)) return null;
    const endedAt = this.#lastEndOf(sector, after);
    // One write of zeroes looks like any other: only if it is the present one is it known to be newer, and zeros that were
    // there before it came are others.
    const isNewer = ({ write }: Candidate): boolean =>
      write.value === before && write.issuedAt > endedAt && write.issuedAt < beforeAt;
    const isSo =
      before === ZEROES
        ? candidates.some((candidate) => candidate.successor === null && isNewer(candidate))
        : (this.#writes.get(before)?.issuedAt ?? 0) > endedAt;
    return isSo ? this.#explain(sector, after, candidates) : null;
  }

  /** When the last write that says `value` there had ended. */
  #lastEndOf(sector: number, value: number): number {
    if (value !== ZEROES) return this.#writes.get(value)?.endedAt ?? 0;
    let last = 0;
    for (const write of this.#writes.values()) {
      const isThere = write.firstSector <= sector && sector < write.firstSector + write.sectorCount;
      if (isThere && write.value === ZEROES) last = Math.max(last, write.endedAt);
    }
    return last;
  }

  /** Whether one of its writes says so. */
  knows(value: number): boolean {
    return this.#writes.has(value);
  }

  /** Every sector that was ever written, ascending. */
  writtenSectors(): number[] {
    return [...this.#sectors.keys()].sort((one, other) => one - other);
  }

  #isDurable(write: WriteRecord): boolean {
    return write.endedAt < this.#goodFlushAt && write.issuedAt > this.#failedFlushAt;
  }

  #explain(sector: number, value: number, candidates: readonly Candidate[]): string {
    const says = (candidate: Candidate): string => {
      const { write, successor } = candidate;
      const { endedAt } = write;
      const end = endedAt === Infinity ? 'under way' : `ended at ${endedAt}`;
      const left = successor === null ? 'possible' : `replaced by ${successor.number}`;
      return `write ${write.number} (value ${write.value}, issued at ${write.issuedAt}, ${end}, ${left})`;
    };
    return `sector ${sector} says ${value}; known are ${candidates.map(says).join(', ')}; flushed at ${this.#goodFlushAt}`;
  }

  #replace(sector: number, candidate: Candidate, successor: WriteRecord, now: number): void {
    if (candidate.successor === null) {
      const outdated = this.#outdated.get(sector) ?? [];
      outdated.push({ value: candidate.write.value, untilAt: now });
      this.#outdated.set(sector, outdated);
    }
    candidate.successor = successor;
  }

  #each(range: SectorRange, run: (candidates: Candidate[], sector: number) => void): void {
    for (let at = 0; at < range.sectorCount; at++) {
      const sector = range.firstSector + at;
      let candidates = this.#sectors.get(sector);
      if (candidates === undefined) {
        candidates = this.#candidates(sector);
        this.#sectors.set(sector, candidates);
      }
      run(candidates, sector);
    }
  }

  #candidates(sector: number): Candidate[] {
    const known = this.#sectors.get(sector);
    if (known !== undefined) return known;
    const write = { number: 0, value: ZEROES, issuedAt: 0, endedAt: 0, firstSector: sector, sectorCount: 1 };
    return [{ write, successor: null }];
  }
}
