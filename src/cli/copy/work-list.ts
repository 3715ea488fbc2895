import type { ByteRange } from '../../protocol/geometry.js';
import type { Extents } from './extents.js';

export interface WorkOptions {
  /** The part of the medium to walk. `offsetBytes` is a multiple of `chunkBytes`. */
  readonly range: ByteRange;
  readonly chunkBytes: number;
  /** Longest hole handed out as one piece, a multiple of `chunkBytes`. */
  readonly holeBytesMax: number;
  /** Where the medium holds data. */
  readonly extents: Extents;
}

/**
 * Hands out a range in ascending chunks: data of at most `chunkBytes`, and the holes between them in larger pieces.
 * Chunks start at multiples of `chunkBytes`; a hole smaller than that disappears in its neighbour.
 */
export class WorkList {
  /** Where the next chunk starts; everything below has been handed out. */
  positionBytes: number;
  /** Of the chunk that `next` has last handed out. */
  lengthBytes = 0;
  isHole = false;
  readonly #endBytes: number;
  /** The data range around the position as last asked for: one question a data range, not one a chunk. */
  #dataBytes = 0;
  #dataEndBytes = 0;

  constructor(private readonly options: WorkOptions) {
    this.positionBytes = options.range.offsetBytes;
    this.#endBytes = options.range.offsetBytes + options.range.lengthBytes;
  }

  /** Moves on. Returns the offset of the chunk that `lengthBytes` and `isHole` now describe, or -1 at the end. */
  next(): number {
    const offsetBytes = this.positionBytes;
    const leftBytes = this.#endBytes - offsetBytes;
    if (leftBytes <= 0) return -1;
    const { chunkBytes, holeBytesMax } = this.options;
    const holeBytes = this.#holeAt(offsetBytes);
    this.isHole = holeBytes > 0;
    this.lengthBytes = this.isHole ? Math.min(holeBytes, holeBytesMax) : Math.min(chunkBytes, leftBytes);
    this.positionBytes = offsetBytes + this.lengthBytes;
    return offsetBytes;
  }

  /** How much from here on is a hole, in whole chunks or up to the end; 0 for data. */
  #holeAt(offsetBytes: number): number {
    if (offsetBytes >= this.#dataEndBytes) this.#ask(offsetBytes);
    const untilBytes = Math.min(this.#dataBytes, this.#endBytes);
    if (untilBytes === this.#endBytes) return this.#endBytes - offsetBytes;
    const { chunkBytes } = this.options;
    return Math.max(0, Math.floor((untilBytes - offsetBytes) / chunkBytes) * chunkBytes);
  }

  #ask(offsetBytes: number): void {
    const data = this.options.extents.nextData(offsetBytes);
    this.#dataBytes = data === null ? this.#endBytes : data.offsetBytes;
    this.#dataEndBytes = data === null ? this.#endBytes : data.offsetBytes + data.lengthBytes;
  }
}
