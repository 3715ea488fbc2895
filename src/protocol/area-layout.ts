import { AREA_BLOCK_BYTES } from './area-block.js';
import { ProtocolError, assert } from './errors.js';
import { REGION_SIZE_BYTES, isPowerOfTwo, regionCount } from './geometry.js';
import { SLOT_COUNT } from './superblock.js';

/** Source of everything here: docs/on-disk-format.md, the tables at its beginning and under "Blocks". */
export const AREA_LOG_BLOCKS = 16;
/** One entry of the activity log. */
export const EXTENT_SIZE_BYTES = 4_194_304;
/** Bits of one bitmap block. */
export const BITMAP_BLOCK_REGIONS = 32_256;

/** Which of the two blocks of a pair. */
export type Copy = 0 | 1;
export const otherCopy = (copy: Copy): Copy => (copy === 0 ? 1 : 0);

const SUPERBLOCK_COPIES = 2;
const PAIR_BYTES = 2 * AREA_BLOCK_BYTES;
const LOG_AT = SUPERBLOCK_COPIES * AREA_BLOCK_BYTES;
const BITMAPS_AT = LOG_AT + AREA_LOG_BLOCKS * AREA_BLOCK_BYTES;

/** Regions are numbered in 32 bits. */
export const MEDIA_BYTES_MAX = 2 ** 32 * REGION_SIZE_BYTES;

/** Media bytes whose regions fill one bitmap block. */
const MEDIA_BYTES_A_PAIR = BITMAP_BLOCK_REGIONS * REGION_SIZE_BYTES;

/** Superblock copies and log, which lie in one piece at the beginning of the area. */
export const AREA_HEAD_BYTES = BITMAPS_AT;

/** Where the area of a component begins: the media size rounded up to whole blocks. */
export const areaOffsetBytes = (mediaSizeBytes: number): number =>
  Math.ceil(mediaSizeBytes / AREA_BLOCK_BYTES) * AREA_BLOCK_BYTES;

/** N: the pairs of bitmap blocks of one slot. */
export const bitmapBlockCount = (mediaSizeBytes: number): number =>
  Math.ceil(regionCount(mediaSizeBytes) / BITMAP_BLOCK_REGIONS);

export const extentCount = (mediaSizeBytes: number): number => Math.ceil(mediaSizeBytes / EXTENT_SIZE_BYTES);

/** How many of the bits of bitmap block n of a slot stand for regions: BITMAP_BLOCK_REGIONS but in the last block. */
export const regionsOfBlock = (mediaSizeBytes: number, n: number): number =>
  Math.min(BITMAP_BLOCK_REGIONS, regionCount(mediaSizeBytes) - n * BITMAP_BLOCK_REGIONS);

export const areaSizeBytes = (mediaSizeBytes: number): number =>
  BITMAPS_AT + SLOT_COUNT * bitmapBlockCount(mediaSizeBytes) * PAIR_BYTES;

/** Offsets in the area, in bytes. */
export const superblockAt = (copy: Copy): number => copy * AREA_BLOCK_BYTES;

export function logBlockAt(index: number): number {
  assert(index >= 0 && index < AREA_LOG_BLOCKS, 'area: no such log block');
  return LOG_AT + index * AREA_BLOCK_BYTES;
}

/** Of copy A of pair `n`, 0 to bitmapBlockCount - 1; copy B follows it. The next pair of the slot follows that. */
export function bitmapPairAt(mediaSizeBytes: number, slot: number, n: number): number {
  const count = bitmapBlockCount(mediaSizeBytes);
  assert(slot >= 0 && slot < SLOT_COUNT && n >= 0 && n < count, 'area: no such bitmap block');
  return BITMAPS_AT + (slot * count + n) * PAIR_BYTES;
}

/**
 * The media size that a provider can carry: the largest multiple of 4,096 with which data, area and a label in the last
 * sector fit, or data and label alone where the area is in a file; MEDIA_BYTES_MAX at most. Throws ProtocolError (PROTOCOL_RANGE): sectors of more than 4,096 bytes, or too small for an area.
 */
export function mediaSizeFor(
  providerSizeBytes: number,
  providerSectorBytes: number,
  hasAreaFile = false,
): number {
  assert(isPowerOfTwo(providerSectorBytes), 'area: a sector size is a power of two');
  if (providerSectorBytes > AREA_BLOCK_BYTES) {
    throw new ProtocolError(
      'PROTOCOL_RANGE',
      `it has sectors of ${providerSectorBytes} bytes; a component's may have ${AREA_BLOCK_BYTES} at most`,
    );
  }
  if (hasAreaFile) return mediaSizeBeside(providerSizeBytes, providerSectorBytes);
  const freeBlocks = Math.floor((providerSizeBytes - providerSectorBytes - BITMAPS_AT) / AREA_BLOCK_BYTES);
  const mediaBlocksAPair = MEDIA_BYTES_A_PAIR / AREA_BLOCK_BYTES;
  const pairBlocks = SLOT_COUNT * 2;
  const pairs = Math.ceil(freeBlocks / (mediaBlocksAPair + pairBlocks));
  // Where what is left is not enough for another pair in each slot, the last full pair is the end.
  const mediaBlocks = Math.max(freeBlocks - pairs * pairBlocks, (pairs - 1) * mediaBlocksAPair);
  if (mediaBlocks < 1) {
    throw new ProtocolError(
      'PROTOCOL_RANGE',
      `its ${providerSizeBytes} bytes are too few for a mirror's private area; it takes ${areaSizeBytes(1)} at least`,
    );
  }
  return Math.min(mediaBlocks * AREA_BLOCK_BYTES, MEDIA_BYTES_MAX);
}

function mediaSizeBeside(providerSizeBytes: number, providerSectorBytes: number): number {
  const mediaBlocks = Math.floor((providerSizeBytes - providerSectorBytes) / AREA_BLOCK_BYTES);
  if (mediaBlocks >= 1) return Math.min(mediaBlocks * AREA_BLOCK_BYTES, MEDIA_BYTES_MAX);
  const message = `its ${providerSizeBytes} bytes are too few for a block of data and a label`;
  throw new ProtocolError('PROTOCOL_RANGE', message);
}
