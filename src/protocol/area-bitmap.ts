import { AREA_BLOCK_BYTES, AREA_BODY_AT, AREA_KIND, newBlock, sealBlock } from './area-block.js';
import { ProtocolError, assert } from './errors.js';

/** Source: docs/on-disk-format.md, "Bitmaps". */
const AT = { slot: AREA_BODY_AT, index: 36, bits: 64 } as const;
/** The bits of one block. */
export const BITMAP_BITS_BYTES = AREA_BLOCK_BYTES - AT.bits;

/** The place of a bitmap block: slot and index of its pair, and how many of its bits stand for regions. */
export interface BitmapPlace {
  readonly slot: number;
  readonly index: number;
  readonly regionCount: number;
}

export interface BitmapBlock {
  readonly sequence: number;
  /** 8 bytes. */
  readonly areaId: Buffer;
  /** BITMAP_BITS_BYTES, the lowest bit of the first byte first. Copied; bits behind the last region are left out. */
  readonly bits: Buffer;
}

/** A sealed block, in `into`, which is all zeros, or in memory of its own. */
export function encodeBitmap(
  place: BitmapPlace,
  { sequence, areaId, bits }: BitmapBlock,
  into?: Buffer,
): Buffer {
  assert(bits.length === BITMAP_BITS_BYTES, 'bitmap block: wrong size of bits');
  const block = newBlock({ kind: AREA_KIND.bitmap, sequence, areaId }, into);
  block.writeUInt32LE(place.slot, AT.slot);
  block.writeUInt32LE(place.index, AT.index);
  bits.copy(block, AT.bits);
  clearTail(block.subarray(AT.bits), place.regionCount);
  return sealBlock(block);
}

/**
 * The bits of a block that is valid as blockState() says, BITMAP_BITS_BYTES in memory of their own. Throws
 * PROTOCOL_FORMAT for a block that belongs to another place.
 */
export function decodeBitmap(place: BitmapPlace, block: Buffer): Buffer {
  assert(block.length === AREA_BLOCK_BYTES, 'bitmap block: wrong size of a block');
  if (block.readUInt32LE(AT.slot) !== place.slot || block.readUInt32LE(AT.index) !== place.index) {
    throw new ProtocolError('PROTOCOL_FORMAT', 'bitmap block: it belongs to another place');
  }
  const bits = Buffer.from(block.subarray(AT.bits));
  clearTail(bits, place.regionCount);
  return bits;
}

function clearTail(bits: Buffer, regionCount: number): void {
  assert(regionCount > 0 && regionCount <= 8 * BITMAP_BITS_BYTES, 'bitmap block: no such number of regions');
  const whole = Math.floor(regionCount / 8);
  const last = regionCount % 8;
  if (last > 0) bits[whole] = (bits[whole] ?? 0) % 2 ** last;
  bits.fill(0, whole + (last > 0 ? 1 : 0));
}
