/* eslint-disable no-bitwise -- bits are the subject of this file; they never touch an offset, only words of 32 regions */
import { BITMAP_BITS_BYTES } from '../../protocol/area-bitmap.js';
import { ProtocolError, assert } from '../../protocol/errors.js';
import { REGION_SIZE_BYTES, isPowerOfTwo, type ByteRange } from '../../protocol/geometry.js';

/** A page is what one bitmap block on disk holds. */
export const BITMAP_PAGE_BYTES = BITMAP_BITS_BYTES;
export const BITMAP_PAGE_REGIONS = BITMAP_PAGE_BYTES * 8;
const PAGE_WORDS = BITMAP_PAGE_BYTES / 4;
/** Indices of regions and words stay within what 32 bits hold: 256 TiB with regions of 64 KiB. */
const REGION_COUNT_MAX = 2 ** 32;

interface Page {
  /** In memory of their own. */
  readonly words: Int32Array<ArrayBuffer>;
  /** How many bits are set. */
  count: number;
}

/** Regions that follow each other. */
export interface RegionRun {
  readonly firstRegion: number;
  readonly regionCount: number;
}

/**
 * One bit for each region of a medium: marked or not. Pages of bits exist only where something is marked, so 4 TiB of
 * which little is marked take some KiB, and 8 MiB when all is. Regions are numbered from 0 to regionCount - 1.
 *
 * Invariants: a page that exists has a bit set, and `count` of them; #marked is the sum of all counts; no bit is set at
 * regionCount or behind it; #isChanged tells which pages are in #changed.
 */
export class RegionBitmap {
  readonly regionCount: number;
  readonly pageCount: number;
  readonly #pages: (Page | null)[];
  #marked = 0;
  /** A page that is all zeros, kept so that one region that is marked and cleared in turn allocates nothing. */
  #spare: Page | null = null;
  readonly #isChanged: Uint8Array;
  #changed: number[] = [];

  /** `regionSizeBytes` is a power of two. The last region may reach beyond the end of the medium. */
  constructor(
    readonly mediaSizeBytes: number,
    readonly regionSizeBytes = REGION_SIZE_BYTES,
  ) {
    assert(isPowerOfTwo(regionSizeBytes), 'region bitmap: a region size that is no power of two');
    assert(mediaSizeBytes > 0, 'region bitmap: a medium of no bytes');
    this.regionCount = Math.ceil(mediaSizeBytes / regionSizeBytes);
    assert(this.regionCount <= REGION_COUNT_MAX, 'region bitmap: regions too small for the medium');
    this.pageCount = Math.ceil(this.regionCount / BITMAP_PAGE_REGIONS);
    this.#pages = new Array<Page | null>(this.pageCount).fill(null);
    this.#isChanged = new Uint8Array(this.pageCount);
  }

  get countMarked(): number {
    return this.#marked;
  }

  /** Of the medium: the part of the last region that is behind its end does not count. */
  get markedBytes(): number {
    const wholeBytes = this.#marked * this.regionSizeBytes;
    const beyondBytes = this.regionCount * this.regionSizeBytes - this.mediaSizeBytes;
    return beyondBytes > 0 && this.isMarked(this.regionCount - 1) ? wholeBytes - beyondBytes : wholeBytes;
  }

  /** Marks every region that the range touches. The range is inside the medium and not empty. */
  mark({ offsetBytes, lengthBytes }: ByteRange): void {
    const first = Math.floor(offsetBytes / this.regionSizeBytes);
    const last = Math.floor((offsetBytes + lengthBytes - 1) / this.regionSizeBytes);
    if (first === last) this.markRegion(first);
    else this.markRun(first, last - first + 1);
  }

  markRegion(region: number): void {
    assert(region >= 0 && region < this.regionCount, 'region bitmap: marked outside the medium');
    const wordIndex = region >>> 5;
    const index = Math.floor(wordIndex / PAGE_WORDS);
    const page = this.#pages[index] ?? this.#addPage(index);
    const at = wordIndex - index * PAGE_WORDS;
    const word = page.words[at] ?? 0;
    const marked = word | (1 << (region & 31));
    if (marked === word) return;
    page.words[at] = marked;
    page.count += 1;
    this.#marked += 1;
    this.#touch(index);
  }

  markRun(firstRegion: number, regionCount: number): void {
    this.#fillRun(firstRegion, regionCount, true);
  }

  markAll(): void {
    this.#fillRun(0, this.regionCount, true);
  }

  /** Marks all that a page covers, for one that can't be read. */
  markPage(page: number): void {
    const firstRegion = page * BITMAP_PAGE_REGIONS;
    this.#fillRun(firstRegion, Math.min(BITMAP_PAGE_REGIONS, this.regionCount - firstRegion), true);
  }

  clear(region: number): void {
    this.#fillRun(region, 1, false);
  }

  clearRun(firstRegion: number, regionCount: number): void {
    this.#fillRun(firstRegion, regionCount, false);
  }

  clearAll(): void {
    this.#fillRun(0, this.regionCount, false);
  }

  /** False also for what is behind the end. */
  isMarked(region: number): boolean {
    if (region >= this.regionCount) return false;
    const wordIndex = region >>> 5;
    const index = Math.floor(wordIndex / PAGE_WORDS);
    const word = this.#pages[index]?.words[wordIndex - index * PAGE_WORDS] ?? 0;
    return (word & (1 << (region & 31))) !== 0;
  }

  /** The first marked region at or behind `from`; -1 if there is none. */
  nextMarked(from: number): number {
    if (from >= this.regionCount || this.#marked === 0) return -1;
    const fromWord = from >>> 5;
    const fromPage = Math.floor(fromWord / PAGE_WORDS);
    let at = fromWord - fromPage * PAGE_WORDS;
    // Of the first word only the bits from `from` on.
    let mask = -1 << (from & 31);
    for (let index = fromPage; index < this.pageCount; index++) {
      const words = this.#pages[index]?.words;
      for (; words !== undefined && at < PAGE_WORDS; at++) {
        const word = (words[at] ?? 0) & mask;
        mask = -1;
        if (word !== 0) return (index * PAGE_WORDS + at) * 32 + lowestBit(word);
      }
      at = 0;
      mask = -1;
    }
    return -1;
  }

  /** The first marked regions at or behind `from` that follow each other, at most `regionsMax`; null if none is. */
  nextMarkedRun(from: number, regionsMax: number): RegionRun | null {
    const firstRegion = this.nextMarked(from);
    if (firstRegion < 0) return null;
    let regionCount = 1;
    while (regionCount < regionsMax && this.isMarked(firstRegion + regionCount)) regionCount += 1;
    return { firstRegion, regionCount };
  }

  /** Marks what `other`, of the same geometry, has marked. */
  union(other: RegionBitmap): void {
    assert(
      other.mediaSizeBytes === this.mediaSizeBytes && other.regionSizeBytes === this.regionSizeBytes,
      'region bitmap: a union of two media',
    );
    if (other === this) return;
    for (const [index, theirs] of other.#pages.entries()) {
      if (theirs === null) continue;
      const ours = this.#pages[index] ?? this.#addPage(index);
      let added = 0;
      for (let at = 0; at < PAGE_WORDS; at++) {
        const word = ours.words[at] ?? 0;
        const missing = (theirs.words[at] ?? 0) & ~word;
        if (missing === 0) continue;
        ours.words[at] = word | missing;
        added += bitCount(missing);
      }
      this.#counted(index, ours, added);
    }
  }

  /** Pages whose bits changed since this was called last, or since the beginning, ascending. */
  takeChangedPages(): number[] {
    const changed = this.#changed;
    this.#changed = [];
    for (const page of changed) this.#isChanged[page] = 0;
    return changed.sort((one, other) => one - other);
  }

  /** Pages that have a bit set, ascending. */
  markedPages(): number[] {
    return this.#pages.flatMap((page, index) => (page === null ? [] : [index]));
  }

  /** Counts a page as changed, because what takeChangedPages() gave could not be stored. */
  retakePage(page: number): void {
    assert(page >= 0 && page < this.pageCount, 'region bitmap: a page that is not there');
    this.#touch(page);
  }

  /** Writes the bits of a page to `into` from `at` on: BITMAP_PAGE_BYTES, the lowest bit of the first byte first. */
  writePage(page: number, into: Buffer, at: number): void {
    assert(page >= 0 && page < this.pageCount, 'region bitmap: a page that is not there');
    const words = this.#pages[page]?.words;
    if (words === undefined) into.fill(0, at, at + BITMAP_PAGE_BYTES);
    else copyWords(Buffer.from(words.buffer), 0, into.subarray(at, at + BITMAP_PAGE_BYTES));
  }

  /**
   * Takes the bits of a page as writePage() wrote them, in place of those that it has; it does not count as changed.
   * Throws PROTOCOL_FORMAT for bits behind the end of the medium, and leaves the page as it was.
   */
  loadPage(page: number, from: Buffer, at: number): void {
    assert(page >= 0 && page < this.pageCount, 'region bitmap: a page that is not there');
    const words = new Int32Array(PAGE_WORDS);
    copyWords(from, at, Buffer.from(words.buffer));
    let count = 0;
    for (const word of words) count += bitCount(word);
    this.#checkEnd(page, words);
    const before = this.#pages[page]?.count ?? 0;
    this.#pages[page] = count === 0 ? null : { words, count };
    this.#marked += count - before;
  }

  /** For tests: whether every invariant holds. */
  checkInvariants(): void {
    let marked = 0;
    for (const [index, page] of this.#pages.entries()) {
      if (page === null) continue;
      const count = page.words.reduce((sum, word) => sum + bitCount(word), 0);
      assert(count === page.count && count > 0, `region bitmap: page ${index} counts wrongly`);
      this.#checkEnd(index, page.words);
      marked += count;
    }
    assert(marked === this.#marked, 'region bitmap: the sum is wrong');
    assert(
      this.#spare?.words.every((word) => word === 0) ?? true,
      'region bitmap: the spare page is not empty',
    );
    const changed = this.#isChanged.reduce((sum, claim) => sum + claim, 0);
    assert(changed === this.#changed.length, 'region bitmap: changed pages are counted wrongly');
  }

  #fillRun(firstRegion: number, regionCount: number, toMarked: boolean): void {
    const endRegion = firstRegion + regionCount;
    assert(firstRegion >= 0 && endRegion <= this.regionCount, 'region bitmap: a run outside the medium');
    let region = firstRegion;
    while (region < endRegion) {
      const index = Math.floor(region / BITMAP_PAGE_REGIONS);
      const pageEnd = Math.min(endRegion, (index + 1) * BITMAP_PAGE_REGIONS);
      const page = this.#pages[index] ?? (toMarked ? this.#addPage(index) : null);
      const firstOfPage = index * BITMAP_PAGE_REGIONS;
      if (page !== null) {
        const changed = fillBits(page.words, region - firstOfPage, pageEnd - firstOfPage, toMarked);
        this.#counted(index, page, toMarked ? changed : -changed);
      }
      region = pageEnd;
    }
  }

  /** Keeps the counts right after `added` bits were set in a page, or cleared if it is negative. */
  #counted(index: number, page: Page, added: number): void {
    if (added === 0) return;
    page.count += added;
    this.#marked += added;
    this.#touch(index);
    if (page.count > 0) return;
    this.#pages[index] = null;
    this.#spare = page;
  }

  /** The caller sets a bit in it at once. */
  #addPage(index: number): Page {
    const page = this.#spare ?? { words: new Int32Array(PAGE_WORDS), count: 0 };
    this.#spare = null;
    this.#pages[index] = page;
    return page;
  }

  #touch(index: number): void {
    if (this.#isChanged[index] === 1) return;
    this.#isChanged[index] = 1;
    this.#changed.push(index);
  }

  #checkEnd(page: number, words: Int32Array): void {
    const endBit = this.regionCount - page * BITMAP_PAGE_REGIONS;
    if (endBit >= BITMAP_PAGE_REGIONS) return;
    const at = endBit >>> 5;
    const isBeyond = ((words[at] ?? 0) & (-1 << (endBit & 31))) !== 0;
    if (isBeyond || words.subarray(at + 1).some((word) => word !== 0)) {
      throw new ProtocolError(
        'PROTOCOL_FORMAT',
        `bitmap page ${page} marks regions behind the end of the medium`,
      );
    }
  }
}

const IS_BIG_ENDIAN = new Uint8Array(Uint16Array.of(1).buffer)[0] === 0;

/** Words of a page from memory to what is stored, or back: `into` takes as many as it has room for. */
function copyWords(from: Buffer, fromAt: number, into: Buffer): void {
  assert(fromAt >= 0 && fromAt + into.length <= from.length, 'region bitmap: words outside their buffer');
  from.copy(into, 0, fromAt, fromAt + into.length);
  if (IS_BIG_ENDIAN) into.swap32();
}

/** Sets or clears the bits from `first` to `end` - 1. Returns how many changed. */
function fillBits(words: Int32Array, first: number, end: number, toMarked: boolean): number {
  let changed = 0;
  const firstWord = first >>> 5;
  const lastWord = (end - 1) >>> 5;
  for (let at = firstWord; at <= lastWord; at++) {
    let mask = -1;
    if (at === firstWord) mask &= -1 << (first & 31);
    if (at === lastWord) mask &= -1 >>> (31 - ((end - 1) & 31));
    const word = words[at] ?? 0;
    const difference = toMarked ? mask & ~word : mask & word;
    words[at] = word ^ difference;
    changed += bitCount(difference);
  }
  return changed;
}

/** Number of the lowest bit of a word that is not 0. */
const lowestBit = (word: number): number => 31 - Math.clz32(word & -word);

/** How many of 32 bits are set: sums of pairs, of fours, of bytes, and all bytes at once. */
function bitCount(word: number): number {
  const pairs = word - ((word >>> 1) & 0x5555_5555);
  const fours = (pairs & 0x3333_3333) + ((pairs >>> 2) & 0x3333_3333);
  return Math.imul((fours + (fours >>> 4)) & 0x0f0f_0f0f, 0x0101_0101) >>> 24;
}
