import type { ByteRange } from '../../protocol/geometry.js';

/** A file in more pieces than this is taken as data from there on: the map must not outgrow the copy's own buffers. */
const RANGES_MAX = 200_000;

/** Asks for the first stretch of data at or after an offset; null when only holes follow. */
export type AskData = (fromBytes: number) => Promise<ByteRange | null>;

/** Which parts of a medium hold data, as it was when asked; everything between them reads as zeros. */
export class Extents {
  /** For a medium of which nothing is known: all of it is data. */
  static allData(mediaSizeBytes: number): Extents {
    return new Extents([{ offsetBytes: 0, lengthBytes: mediaSizeBytes }]);
  }

  /** For a file that has just been made. */
  static readonly noData = new Extents([]);

  /** Ascending, not touching each other. */
  constructor(private readonly ranges: readonly ByteRange[]) {}

  /**
   * Asks for all of a medium. Gaps smaller than `gapBytesMin` are taken as data. Returns null if it can't be told,
   * which costs no more than reading zeros.
   */
  static async load(ask: AskData, mediaSizeBytes: number, gapBytesMin: number): Promise<Extents | null> {
    const ranges: ByteRange[] = [];
    let fromBytes = 0;
    try {
      while (fromBytes < mediaSizeBytes) {
        const found = await ask(fromBytes);
        if (found === null || found.offsetBytes >= mediaSizeBytes) break;
        const isLast = ranges.length >= RANGES_MAX;
        const endBytes = isLast ? mediaSizeBytes : found.offsetBytes + found.lengthBytes;
        append(ranges, found.offsetBytes, Math.min(endBytes, mediaSizeBytes), gapBytesMin);
        fromBytes = endBytes;
      }
    } catch {
      return null;
    }
    return new Extents(ranges);
  }

  /** The first data range that ends after `fromBytes`, or null. */
  nextData(fromBytes: number): ByteRange | null {
    return this.ranges[this.#indexAfter(fromBytes)] ?? null;
  }

  isZero(offsetBytes: number, lengthBytes: number): boolean {
    const next = this.nextData(offsetBytes);
    return next === null || next.offsetBytes >= offsetBytes + lengthBytes;
  }

  get dataBytes(): number {
    return this.ranges.reduce((sum, range) => sum + range.lengthBytes, 0);
  }

  /** Index of the first range that ends after `fromBytes`, by halving. */
  #indexAfter(fromBytes: number): number {
    let low = 0;
    let high = this.ranges.length;
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      const range = this.ranges[middle];
      if (range !== undefined && range.offsetBytes + range.lengthBytes <= fromBytes) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function append(ranges: ByteRange[], startBytes: number, endBytes: number, gapBytesMin: number): void {
  const last = ranges.at(-1);
  if (last !== undefined && startBytes - (last.offsetBytes + last.lengthBytes) < gapBytesMin) {
    ranges[ranges.length - 1] = {
      offsetBytes: last.offsetBytes,
      lengthBytes: endBytes - last.offsetBytes,
    };
    return;
  }
  ranges.push({ offsetBytes: startBytes, lengthBytes: endBytes - startBytes });
}
