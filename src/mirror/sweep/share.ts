import type { BlockIo, BlockOp, DeviceError } from '../../device/block-device.js';
import { checksumRegions, checksumsBytes, REGION_CHECKSUM_BYTES } from '../../protocol/region-checksums.js';
import { REGION_SIZE_BYTES, regionCount, type ByteRange } from '../../protocol/geometry.js';
import type { Component, ComponentIo } from '../component.js';
import { PIECE_BYTES } from '../limits.js';
import type { RegionRun } from '../area/region-bitmap.js';

/**
 * - 'data': its bytes;
 * - 'sums': the checksums of its regions, reckoned from its bytes, which are there too;
 * - 'told sums': the checksums alone, by the device.
 */
export type Wanted = 'data' | 'sums' | 'told sums';

/**
 * What one side of a comparison or copy holds in one piece, of PIECE_BYTES at most. Started as a mirror's read or as a
 * component's request. Reused.
 */
export class Share implements BlockIo, ComponentIo {
  op: BlockOp = 'read';
  offsetBytes = 0;
  lengthBytes = 0;
  readonly bufferAt = 0;
  #wanted: Wanted = 'data';
  // Only bytes that a device has filled, or that were reckoned from them, are ever looked at.
  #data: Buffer | null = null;
  #sums: Buffer | null = null;

  constructor(private readonly ended: (error: DeviceError | null) => void) {}

  get buffer(): Buffer {
    return this.#wanted === 'told sums' ? this.#sumsBuffer() : this.data;
  }

  /** Bytes of the range, from its start on; with 'told sums' they are not those. */
  get data(): Buffer {
    this.#data ??= Buffer.allocUnsafe(PIECE_BYTES);
    return this.#data;
  }

  /** Whether `data` has the bytes of this range. */
  holds({ offsetBytes, lengthBytes }: ByteRange): boolean {
    if (this.#wanted === 'told sums' || offsetBytes < this.offsetBytes) return false;
    return offsetBytes + lengthBytes <= this.offsetBytes + this.lengthBytes;
  }

  /** The caller starts it next; `ended` is called when it is done. */
  aim(range: ByteRange, wanted: Wanted): this {
    this.offsetBytes = range.offsetBytes;
    this.lengthBytes = range.lengthBytes;
    this.#wanted = wanted;
    this.op = wanted === 'told sums' ? 'checksum' : 'read';
    return this;
  }

  done(error: DeviceError | null): void {
    if (error === null && this.#wanted === 'sums') {
      checksumRegions(this.data.subarray(0, this.lengthBytes), this.#sumsBuffer(), 0);
    }
    this.ended(error);
  }

  answered(_component: Component, error: DeviceError | null): void {
    this.done(error);
  }

  /**
   * The regions in which the other side, of the same range, holds other bytes; numbered from the start of the medium.
   * Both have data, or both have checksums.
   */
  differencesFrom(other: Share): RegionRun[] {
    const runs: { firstRegion: number; regionCount: number }[] = [];
    const first = this.offsetBytes / REGION_SIZE_BYTES;
    const count = regionCount(this.lengthBytes);
    for (let index = 0; index < count; index++) {
      if (this.#isEqual(other, index)) continue;
      const region = first + index;
      const last = runs.at(-1);
      if (last !== undefined && last.firstRegion + last.regionCount === region) last.regionCount += 1;
      else runs.push({ firstRegion: region, regionCount: 1 });
    }
    return runs;
  }

  #isEqual(other: Share, index: number): boolean {
    if (this.#wanted !== 'data' && other.#wanted !== 'data') {
      const at = index * REGION_CHECKSUM_BYTES;
      const end = at + REGION_CHECKSUM_BYTES;
      return this.#sumsBuffer().compare(other.#sumsBuffer(), at, end, at, end) === 0;
    }
    const at = index * REGION_SIZE_BYTES;
    const end = Math.min(at + REGION_SIZE_BYTES, this.lengthBytes);
    return this.data.compare(other.data, at, end, at, end) === 0;
  }

  #sumsBuffer(): Buffer {
    this.#sums ??= Buffer.allocUnsafe(checksumsBytes(PIECE_BYTES));
    return this.#sums;
  }
}
