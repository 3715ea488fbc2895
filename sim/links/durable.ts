import { Chance } from '../chance.js';
import { readSector } from '../content.js';
import { SECTOR_BYTES, type SimDisk, readChunks } from '../disk.js';
import { type ReadSnapshot, Registers, type SectorRange, type WriteRecord } from '../registers.js';

/** More than a client has under way. */
const READS_MAX = 100;

/** Of what was not flushed nothing stays. */
class WorstCase extends Chance {
  override pick<Item>(items: readonly Item[]): Item {
    const [first] = items;
    if (first === undefined) throw new Error('nothing to pick from');
    return first;
  }

  override happens(): boolean {
    return false;
  }
}

/**
 * Registers on one disk, whose medium is looked at whenever a flush succeeds: it must have all that was answered before
 * that flush began, unless the client knew by then that an earlier flush had failed.
 */
export class DurableRegisters extends Registers {
  /** By sector: what may be on the medium. */
  readonly #writes = new Map<number, WriteRecord[]>();
  #unflushed: WriteRecord[] = [];
  /** Those that a failed flush has told of, for flushes that had begun before that. */
  #toldOf: { readonly write: WriteRecord; readonly toldAt: number }[] = [];
  #forgivenAt = 0;
  #powerLostAt = 0;
  /** The last ones, answered or not. */
  readonly #reads: (SectorRange & { readonly values: Set<number>[] })[] = [];

  constructor(
    private readonly disk: SimDisk,
    private readonly broken: (what: string) => void,
  ) {
    super();
  }

  override issue(write: WriteRecord): void {
    super.issue(write);
    for (const sector of sectorsOf(write)) {
      const known = this.#writes.get(sector);
      if (known === undefined) this.#writes.set(sector, [write]);
      else known.push(write);
    }
  }

  override acknowledge(write: WriteRecord, now: number): void {
    // The answer, or a part of what was asked for, may be from before the loss; the next flush tells its client of that.
    if (write.issuedAt < this.#powerLostAt) {
      super.abort(write, now);
      return;
    }
    super.acknowledge(write, now);
    if (write.issuedAt > this.#forgivenAt) this.#unflushed.push(write);
  }

  override startRead(range: SectorRange, now: number): ReadSnapshot {
    const snapshot = super.startRead(range, now);
    const values = snapshot.values.map((possible) => new Set(possible));
    this.#reads.push({ ...snapshot, values });
    if (this.#reads.length > READS_MAX) this.#reads.shift();
    return { ...snapshot, values };
  }

  /** A read that waits for the next connection finds what is left then. */
  hostLostPower(now: number): void {
    this.powerLost();
    this.#powerLostAt = now;
    for (const { values, ...range } of this.#reads)
      super.startRead(range, now).values.forEach((left, at) => {
        for (const value of left) values[at]?.add(value);
      });
  }

  /** What a read has found may be gone since, if it began before the power was lost. */
  override endRead(snapshot: ReadSnapshot, at: number, value: number): string | null {
    if (snapshot.startedAt < this.#powerLostAt && snapshot.values[at]?.has(value) === true) return null;
    return super.endRead(snapshot, at, value);
  }

  override flushed(startedAt: number): void {
    super.flushed(startedAt);
    const medium = this.disk.crashImage(new WorstCase(0));
    const early = this.#toldOf.filter(({ toldAt }) => startedAt < toldAt).map(({ write }) => write);
    const covered = [...early, ...this.#unflushed].filter(({ endedAt }) => endedAt < startedAt);
    this.#unflushed = this.#unflushed.filter(({ endedAt }) => endedAt >= startedAt);
    const bytes = Buffer.alloc(SECTOR_BYTES);
    for (const write of covered) {
      for (const sector of sectorsOf(write)) {
        // What had ended before this one began is older.
        const possible = (this.#writes.get(sector) ?? []).filter(({ endedAt }) => endedAt >= write.issuedAt);
        this.#writes.set(sector, possible);
        readChunks(medium, sector * SECTOR_BYTES, bytes);
        const value = readSector(bytes, 0, sector);
        if (possible.some((other) => other.value === value)) continue;
        this.broken(
          `a flush succeeded, and sector ${sector} of the medium says ${value} and not ${write.value}, of a write that was answered before the flush began`,
        );
        return;
      }
    }
  }

  /** Another client knows nothing of what was not flushed. */
  override abortAll(now: number): void {
    super.abortAll(now);
    this.#unflushed = [];
    this.#toldOf = [];
  }

  override flushFailed(now: number): void {
    super.flushFailed(now);
    // Those under way may have been in the cache already.
    this.#forgivenAt = now;
    this.#toldOf = this.#unflushed.map((write) => ({ write, toldAt: now }));
    this.#unflushed = [];
  }
}

function* sectorsOf({ firstSector, sectorCount }: WriteRecord): Generator<number> {
  for (let sector = firstSector; sector < firstSector + sectorCount; sector++) yield sector;
}
