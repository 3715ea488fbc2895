import { AREA_BLOCK_BYTES, sequenceOf } from '../src/protocol/area-block.js';
import { AREA_HEAD_BYTES, AREA_LOG_BLOCKS, areaOffsetBytes } from '../src/protocol/area-layout.js';
import type { ByteRange } from '../src/protocol/geometry.js';
import type { SimDisk } from './disk.js';

const LOG_FIRST = 2;
const BITMAPS_FIRST = AREA_HEAD_BYTES / AREA_BLOCK_BYTES;
/** Where the body of every block begins. */
const BODY_AT = 32;
const ZERO_BLOCK = Buffer.alloc(AREA_BLOCK_BYTES);

/**
 * A read of a private area gets one block from another place, and nothing tells so: only one that may be damaged, for
 * what it says stands somewhere else, too. `bytes` is what was read of `range`. False if there is none in it.
 */
export function misdirect(
  disk: SimDisk,
  mediaSizeBytes: number,
  { range, bytes, which }: { readonly range: ByteRange; readonly bytes: Buffer; readonly which: number },
): boolean {
  const areaAt = areaOffsetBytes(mediaSizeBytes);
  const blockAt = (index: number): Buffer => {
    const block = Buffer.alloc(AREA_BLOCK_BYTES);
    const at = areaAt + index * AREA_BLOCK_BYTES;
    if (at + AREA_BLOCK_BYTES <= disk.sizeBytes) disk.read(at, block);
    return block;
  };
  const first = (range.offsetBytes - areaAt) / AREA_BLOCK_BYTES;
  const count = Math.floor(range.lengthBytes / AREA_BLOCK_BYTES);
  if (first < 0 || !Number.isInteger(first)) return false;
  // Superblocks and log are read first of all, and it would never be a bitmap.
  if (which % 2 === 1 && first < BITMAPS_FIRST) return false;
  const spare = Array.from({ length: count }, (_, at) => first + at).filter((index) => {
    const block = blockAt(index);
    return (
      !block.equals(ZERO_BLOCK) &&
      (isLog(index) ? isLogSpare(index, blockAt) : twinOf(index, blockAt).equals(block))
    );
  });
  const index = spare[Math.floor(which / 2) % Math.max(1, spare.length)];
  if (index === undefined) return false;
  blockAt(elsewhere(index)).copy(bytes, (index - first) * AREA_BLOCK_BYTES);
  return true;
}

const isLog = (index: number): boolean => index >= LOG_FIRST && index < BITMAPS_FIRST;

/** Superblocks and bitmaps are pairs. */
const twinOf = (index: number, blockAt: (index: number) => Buffer): Buffer =>
  blockAt(index % 2 === 0 ? index + 1 : index - 1);

/** The one before the newest says the same, or it is not the newest. */
function isLogSpare(index: number, blockAt: (index: number) => Buffer): boolean {
  const blocks = Array.from({ length: AREA_LOG_BLOCKS }, (_, at) => ({
    index: LOG_FIRST + at,
    block: blockAt(LOG_FIRST + at),
  }));
  const [newest, before] = blocks
    .filter(({ block }) => !block.equals(ZERO_BLOCK))
    .sort((one, other) => sequenceOf(other.block) - sequenceOf(one.block));
  if (newest === undefined || before === undefined) return false;
  return newest.index !== index || newest.block.subarray(BODY_AT).equals(before.block.subarray(BODY_AT));
}

/** The next one of its kind for a log, the next pair's for a pair: what stands there is as sound. */
function elsewhere(index: number): number {
  if (isLog(index)) return index + 1 < BITMAPS_FIRST ? index + 1 : LOG_FIRST;
  return index + 2;
}
