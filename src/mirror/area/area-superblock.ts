import { AREA_FORMAT_VERSION, AREA_KIND, blockState, kindAndVersionOf } from '../../protocol/area-block.js';
import {
  AREA_LOG_BLOCKS,
  EXTENT_SIZE_BYTES,
  MEDIA_BYTES_MAX,
  areaOffsetBytes,
  areaSizeBytes,
  bitmapBlockCount,
} from '../../protocol/area-layout.js';
import { ProtocolError } from '../../protocol/errors.js';
import { REGION_SIZE_BYTES } from '../../protocol/geometry.js';
import { decodeSuperblock, type Superblock } from '../../protocol/superblock.js';
import { newestCopy, type FoundCopy } from './block-pair.js';

export type FoundSuperblock =
  | { readonly state: 'none' }
  /** `why` is a clause for people. */
  | { readonly state: 'damaged'; readonly why: string }
  | {
      readonly state: 'ok';
      readonly superblock: Superblock;
      /** The block that it was read from. */
      readonly block: Buffer;
      readonly copies: readonly [FoundCopy, FoundCopy];
    };

/** Where the area is. */
export interface AreaPlace {
  readonly startBytes: number;
  /** From there to the end of the device. */
  readonly roomBytes: number;
}

interface Copy {
  readonly state: FoundCopy['state'];
  readonly superblock: Superblock | null;
  readonly why: string;
}

/** Which superblock the two copies tell (docs/on-disk-format.md, "Superblock"). Null for a block that can't be read. */
export function findSuperblock(
  blocks: readonly [Buffer | null, Buffer | null],
  place: AreaPlace,
): FoundSuperblock {
  const [a, b] = [readCopy(blocks[0]), readCopy(blocks[1])];
  if (a.state === 'empty' && b.state === 'empty') return { state: 'none' };
  if (a.superblock !== null && b.superblock !== null && !a.superblock.areaId.equals(b.superblock.areaId)) {
    return { state: 'damaged', why: 'its two superblocks are of different mirrors' };
  }
  const copies = [asFound(a), asFound(b)] as const;
  const newest = newestCopy(copies) ?? 0;
  const { superblock, why } = newest === 0 ? a : b;
  const block = blocks[newest];
  if (superblock === null || block === null) {
    return {
      state: 'damaged',
      why: `neither of its superblocks is sound: ${why === '' ? a.why || b.why : why}`,
    };
  }
  const misfit = misfitOf(superblock, place);
  return misfit === null ? { state: 'ok', superblock, block, copies } : { state: 'damaged', why: misfit };
}

/** The copy that findSuperblock() would choose, without a look at whether it fits; null if there is none. */
export function newestSuperblock(blocks: readonly [Buffer | null, Buffer | null]): 0 | 1 | null {
  return newestCopy([asFound(readCopy(blocks[0])), asFound(readCopy(blocks[1]))]);
}

const asFound = ({ state, superblock }: Copy): FoundCopy => ({
  state,
  sequence: superblock?.sequence ?? 0,
});

function readCopy(block: Buffer | null): Copy {
  if (block === null) return damaged("it can't be read");
  const state = blockState(block, AREA_KIND.superblock, null);
  if (state === 'empty') return { state, superblock: null, why: '' };
  if (state === 'damaged') return damaged(whyDamaged(block));
  try {
    return { state, superblock: decodeSuperblock(block), why: '' };
  } catch (cause) {
    if (cause instanceof ProtocolError) return damaged(cause.message);
    throw cause;
  }
}

const damaged = (why: string): Copy => ({ state: 'damaged', superblock: null, why });

function whyDamaged(block: Buffer): string {
  const { kind, version } = kindAndVersionOf(block);
  if (kind !== AREA_KIND.superblock) return 'something else is in its place';
  if (version !== AREA_FORMAT_VERSION) {
    return `format version ${version}; this ggmirror knows ${AREA_FORMAT_VERSION}`;
  }
  return 'wrong checksum';
}

/** Why a sound superblock is none for this place; null if it is one. */
function misfitOf(superblock: Superblock, { startBytes, roomBytes }: AreaPlace): string | null {
  const { mediaSizeBytes, regionSizeBytes, extentSizeBytes, logBlockCount } = superblock;
  const isOurs =
    regionSizeBytes === REGION_SIZE_BYTES &&
    extentSizeBytes === EXTENT_SIZE_BYTES &&
    logBlockCount === AREA_LOG_BLOCKS &&
    superblock.bitmapBlockCount === bitmapBlockCount(mediaSizeBytes);
  if (!isOurs)
    return 'its superblock has sizes of regions, extents, log or bitmaps that this ggmirror does not know';
  if (mediaSizeBytes > MEDIA_BYTES_MAX)
    return `its media size of ${mediaSizeBytes} bytes is more than a mirror has`;
  if (startBytes !== 0 && startBytes !== areaOffsetBytes(mediaSizeBytes)) {
    return `it is for a mirror of ${mediaSizeBytes} bytes, and lies at byte ${startBytes} where another size would have it`;
  }
  const sizeBytes = areaSizeBytes(mediaSizeBytes);
  return roomBytes >= sizeBytes ? null : `it takes ${sizeBytes} bytes, and there are ${roomBytes} left`;
}
