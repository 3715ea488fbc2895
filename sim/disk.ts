import type { Chance } from './chance.js';

export const SECTOR_BYTES = 512;
/** As large as a region, so that what is compared is compared by region. */
export const CHUNK_BYTES = 65_536;
const CHUNK_SECTORS = CHUNK_BYTES / SECTOR_BYTES;
const ZERO_SECTOR = Buffer.alloc(SECTOR_BYTES);
const ZERO_CHUNK = Buffer.alloc(CHUNK_BYTES);

/** One write as the disk knows it. */
export interface WriteMark {
  /** When it was answered, in the order of the world; Infinity while it is not. */
  answeredAt: number;
}

interface Version {
  readonly data: Buffer;
  readonly mark: WriteMark;
  /** A flush failed since it was written: it is only in the cache, and no flush will change that. */
  isForgotten: boolean;
}

interface Unflushed {
  /** What a loss of power brings back if it takes all versions. */
  durable: Buffer;
  versions: Version[];
}

/** What a disk holds, chunk by chunk; one that is not there is all zeros. */
export type Chunks = ReadonlyMap<number, Buffer>;

/**
 * The medium of a disk with a volatile cache, sparse. What was written since the last flush may be lost with the power,
 * sector by sector, and of a sector that was written more than once any version may be left.
 */
export class SimDisk {
  /** What is read. */
  readonly #chunks = new Map<number, Buffer>();
  /** By chunk and sector. A sector that was written with the bytes that it had is not in it. */
  readonly #unflushed = new Map<number, Map<number, Unflushed>>();
  /** Sectors that can't be read until they are written. */
  readonly bad = new Set<number>();
  /** From there on nothing goes with the power. */
  keepsFromBytes = Infinity;

  constructor(
    readonly name: string,
    readonly sizeBytes: number,
    content: Chunks = new Map(),
  ) {
    for (const [index, chunk] of content) this.#chunks.set(index, Buffer.from(chunk));
  }

  get chunks(): Chunks {
    return this.#chunks;
  }

  read(offsetBytes: number, into: Buffer): void {
    readChunks(this.#chunks, offsetBytes, into);
  }

  hasBadSector(offsetBytes: number, lengthBytes: number): boolean {
    if (this.bad.size === 0) return false;
    const first = offsetBytes / SECTOR_BYTES;
    for (let sector = first; sector < first + lengthBytes / SECTOR_BYTES; sector++)
      if (this.bad.has(sector)) return true;
    return false;
  }

  /** `data` null for zeros. `isKept` says for each sector whether it is written; all are if left out. */
  write(
    { offsetBytes, lengthBytes }: { readonly offsetBytes: number; readonly lengthBytes: number },
    data: Buffer | null,
    mark: WriteMark,
    isKept?: (sector: number) => boolean,
  ): void {
    for (let at = 0; at < lengthBytes;) {
      const index = Math.floor((offsetBytes + at) / CHUNK_BYTES);
      const inChunk = (offsetBytes + at) % CHUNK_BYTES;
      const length = Math.min(CHUNK_BYTES - inChunk, lengthBytes - at);
      this.#writeChunk(index, inChunk, data?.subarray(at, at + length) ?? ZERO_CHUNK.subarray(0, length), {
        mark,
        isKept,
      });
      at += length;
    }
  }

  /** What was answered before `startedAt` is on the medium. */
  flush(startedAt: number): void {
    for (const [index, sectors] of this.#unflushed) {
      for (const [sector, entry] of sectors) {
        const { versions } = entry;
        const covered = versions.findLastIndex(({ mark }) => mark.answeredAt < startedAt);
        const newest = versions[covered];
        if (newest === undefined || newest.isForgotten) continue;
        entry.durable = newest.data;
        versions.splice(0, covered + 1);
        if (versions.length === 0) sectors.delete(sector);
      }
      if (sectors.size === 0) this.#unflushed.delete(index);
    }
  }

  /**
   * As kernels do after a failed flush: what was dirty counts as clean, whoever wrote it, and no later flush will write it.
   */
  failFlush(): void {
    for (const sectors of this.#unflushed.values())
      for (const { versions } of sectors.values()) for (const version of versions) version.isForgotten = true;
  }

  /** The power goes: of what was not flushed any part stays. */
  losePower(chance: Chance): void {
    for (const [index, chunk] of this.#imageChunks(chance)) this.#chunks.set(index, chunk);
    this.#unflushed.clear();
  }

  /** What a loss of power now could leave; the disk itself goes on. */
  crashImage(chance: Chance): Chunks {
    const image = new Map(this.#chunks);
    for (const [index, chunk] of this.#imageChunks(chance)) image.set(index, chunk);
    return image;
  }

  #imageChunks(chance: Chance): Map<number, Buffer> {
    // Nothing, everything and everything in between; torn blocks are likely only in between.
    const keptPart = chance.pick([0, 0.1, 0.5, 0.9, 1]);
    const changed = new Map<number, Buffer>();
    for (const [index, sectors] of this.#unflushed) {
      const chunk = Buffer.from(this.#chunks.get(index) ?? ZERO_CHUNK);
      for (const [sector, { durable, versions }] of sectors) {
        const isKept = (index * CHUNK_SECTORS + sector) * SECTOR_BYTES >= this.keepsFromBytes;
        const survivor = isKept
          ? versions.at(-1)
          : !chance.happens(keptPart)
            ? undefined
            : chance.happens(0.7)
              ? versions.at(-1)
              : chance.pick(versions);
        (survivor?.data ?? durable).copy(chunk, sector * SECTOR_BYTES);
      }
      changed.set(index, chunk);
    }
    return changed;
  }

  #writeChunk(
    index: number,
    inChunk: number,
    data: Buffer,
    { mark, isKept }: { mark: WriteMark; isKept: ((sector: number) => boolean) | undefined },
  ): void {
    let sectors = this.#unflushed.get(index);
    let chunk = this.#chunks.get(index);
    // Most of what a resync writes is there already.
    const before = (chunk ?? ZERO_CHUNK).subarray(inChunk, inChunk + data.length);
    if (sectors === undefined && this.bad.size === 0 && before.equals(data)) return;
    if (chunk === undefined) this.#chunks.set(index, (chunk = Buffer.alloc(CHUNK_BYTES)));
    for (let at = 0; at < data.length; at += SECTOR_BYTES) {
      const sector = (inChunk + at) / SECTOR_BYTES;
      if (isKept !== undefined && !isKept(sector)) continue;
      this.bad.delete(index * CHUNK_SECTORS + sector);
      const old = chunk.subarray(sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES);
      const fresh = data.subarray(at, at + SECTOR_BYTES);
      let entry = sectors?.get(sector);
      if (entry === undefined && old.equals(fresh)) continue;
      if (sectors === undefined) this.#unflushed.set(index, (sectors = new Map<number, Unflushed>()));
      if (entry === undefined) sectors.set(sector, (entry = { durable: Buffer.from(old), versions: [] }));
      entry.versions.push({
        data: fresh.equals(ZERO_SECTOR) ? ZERO_SECTOR : Buffer.from(fresh),
        mark,
        isForgotten: false,
      });
      fresh.copy(old);
    }
  }
}

/** Reads from what a disk holds. */
export function readChunks(chunks: Chunks, offsetBytes: number, into: Buffer): void {
  for (let at = 0; at < into.length;) {
    const index = Math.floor((offsetBytes + at) / CHUNK_BYTES);
    const inChunk = (offsetBytes + at) % CHUNK_BYTES;
    const length = Math.min(CHUNK_BYTES - inChunk, into.length - at);
    const chunk = chunks.get(index);
    if (chunk === undefined) into.fill(0, at, at + length);
    else chunk.copy(into, at, inChunk, inChunk + length);
    at += length;
  }
}

/** The chunks before `endBytes` in which two disks differ, ascending. */
export function differingChunks(one: Chunks, other: Chunks, endBytes: number): number[] {
  const differing: number[] = [];
  for (const index of new Set([...one.keys(), ...other.keys()])) {
    const length = Math.min(CHUNK_BYTES, endBytes - index * CHUNK_BYTES);
    if (length <= 0) continue;
    const [a, b] = [one.get(index) ?? ZERO_CHUNK, other.get(index) ?? ZERO_CHUNK];
    if (a.compare(b, 0, length, 0, length) !== 0) differing.push(index);
  }
  return differing.sort((first, second) => first - second);
}
