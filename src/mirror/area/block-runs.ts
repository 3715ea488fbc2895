import { AREA_BLOCK_BYTES } from '../../protocol/area-block.js';
import { AREA_TRANSFER_BYTES } from '../limits.js';

export interface PlacedBlock {
  /** Offset in the area. */
  readonly at: number;
  /** Lent until it is written. */
  readonly block: Buffer;
}

/** Blocks that follow each other, ascending. */
export interface BlockRun {
  /** Offset in the area. */
  readonly at: number;
  /** At most AREA_TRANSFER_BYTES. */
  readonly lengthBytes: number;
  readonly blocks: readonly PlacedBlock[];
}

/** How blocks, each at another place, are written with few requests. */
export function runsOf(unsorted: readonly PlacedBlock[]): BlockRun[] {
  const blocks = [...unsorted].sort((one, other) => one.at - other.at);
  const runs: BlockRun[] = [];
  for (let from = 0, end = 1; from < blocks.length; from = end, end += 1) {
    const at = atOf(blocks[from]);
    while (end < blocks.length && atOf(blocks[end]) - atOf(blocks[end - 1]) === AREA_BLOCK_BYTES) {
      if (atOf(blocks[end]) + AREA_BLOCK_BYTES - at > AREA_TRANSFER_BYTES) break;
      end += 1;
    }
    const lengthBytes = atOf(blocks[end - 1]) + AREA_BLOCK_BYTES - at;
    runs.push({ at, lengthBytes, blocks: blocks.slice(from, end) });
  }
  return runs;
}

const atOf = (placed: PlacedBlock | undefined): number => placed?.at ?? 0;
