import { fillSectors, readSector, SECTOR_BYTES } from './blocks.js';

/** Sectors of one file are numbered from its own multiple of this, so that one found in another file is told. */
const FILE_SECTORS = 4096;

/** What one whole file may hold: for each sector the writes that it may be of, the newest last. */
type Sectors = readonly Set<number>[];

/**
 * What one file of a file system may hold, as far as it was told. Of all that was not synced a crash keeps any part: the
 * content before a rename or after it, and each sector of what was written in place or not. One operation at a time.
 */
export class FileModel {
  /** The newest last; null is no file. More than one only between an operation's start and its end, or a crash. */
  #contents: (Sectors | null)[] = [null];

  constructor(
    private readonly index: number,
    private readonly seed: number,
  ) {}

  /** Of the newest content; 0 if there is no file. */
  get sectorCount(): number {
    return this.#newest?.length ?? 0;
  }

  /** The file is about to be replaced by a new one as a whole. Gives its content. */
  replace(number: number, sectorCount: number): Buffer {
    this.#contents.push(Array.from({ length: sectorCount }, () => new Set([number])));
    return this.#fill(number, 0, sectorCount);
  }

  /** It is about to be removed. */
  remove(): void {
    this.#contents.push(null);
  }

  /** Sectors of it are about to be written in place. Gives their content. */
  overwrite(number: number, firstSector: number, sectorCount: number): Buffer {
    const newest = this.#newest ?? [];
    for (const allowed of newest.slice(firstSector, firstSector + sectorCount)) allowed.add(number);
    return this.#fill(number, firstSector, sectorCount);
  }

  /** What was done last is on stable storage, and all before it. */
  synced(): void {
    this.#contents = [this.#newestOnly];
  }

  /** What is wrong with what a reader finds in a file system that no crash has touched since; null if nothing is. */
  wrongNow(found: Buffer | null): string | null {
    return this.#wrongIn(this.#newestOnly, found);
  }

  /** What is wrong with what is found after a crash; null if nothing is. */
  wrongAfterCrash(found: Buffer | null): string | null {
    const wrongs = this.#contents.map((content) => this.#wrongIn(content, found));
    return wrongs.includes(null) ? null : wrongs.join('; or ');
  }

  /** It was found after a crash, and nothing is wrong with it: from now on it is this. */
  settle(found: Buffer | null): void {
    this.#contents = [found === null ? null : this.#read(found).map((number) => new Set([Number(number)]))];
  }

  get #newest(): Sectors | null {
    return this.#contents.at(-1) ?? null;
  }

  /** Without what was written before. */
  get #newestOnly(): Sectors | null {
    return this.#newest?.map((allowed) => new Set([...allowed].slice(-1))) ?? null;
  }

  #wrongIn(content: Sectors | null, found: Buffer | null): string | null {
    if (content === null || found === null) {
      if (content === found) return null;
      return content === null ? 'is there, and was removed' : 'is not there';
    }
    const lengthBytes = content.length * SECTOR_BYTES;
    if (found.length !== lengthBytes) return `has ${found.length} bytes, not ${lengthBytes}`;
    const said = this.#read(found);
    const wrong = said.findIndex(
      (number, at) => typeof number === 'string' || content[at]?.has(number) !== true,
    );
    if (wrong === -1) return null;
    return `sector ${wrong} has ${said[wrong] ?? ''}, and should have ${[...(content[wrong] ?? [])].join(' or ')}`;
  }

  #read(found: Buffer): (number | string)[] {
    return Array.from({ length: found.length / SECTOR_BYTES }, (_, sector) =>
      readSector(found, sector * SECTOR_BYTES, this.index * FILE_SECTORS + sector, this.seed),
    );
  }

  #fill(number: number, firstSector: number, sectorCount: number): Buffer {
    const bytes = Buffer.alloc(sectorCount * SECTOR_BYTES);
    fillSectors(bytes, this.index * FILE_SECTORS + firstSector, number, this.seed);
    return bytes;
  }
}
