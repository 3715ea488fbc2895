import { AREA_BLOCK_BYTES } from '../../protocol/area-block.js';
import { AREA_SCATTERED_MIN, AREA_TRANSFER_BYTES } from '../limits.js';

export interface PlacedBlock {
  /** Offset in the area. */
  readonly at: number;
  /** Lent until it is written. */
  readonly block: Buffer;
}

/** Blocks that are written with one request, ascending. Where they do not fill it, others lie between them. */
export interface BlockRun {
  /** Offset in the area. */
  readonly at: number;
  /** At most AREA_TRANSFER_BYTES. */
  readonly lengthBytes: number;
  readonly blocks: readonly PlacedBlock[];
}

/** The next pair's copy, whichever it is. Only bitmap blocks stand so close together in such numbers. */
const NEAR_BYTES = 3 * AREA_BLOCK_BYTES;

/** How blocks, each at another place, are written with few requests. */
export function runsOf(blocks: readonly PlacedBlock[]): BlockRun[] {
  const sorted = [...blocks].sort((one, other) => one.at - other.at);
  return split(sorted, NEAR_BYTES).flatMap((run) =>
    run.blocks.length >= AREA_SCATTERED_MIN ? [run] : split(run.blocks, AREA_BLOCK_BYTES),
  );
}

/** No two neighbours in a run begin further apart than `apartBytes`. */
function split(blocks: readonly PlacedBlock[], apartBytes: number): BlockRun[] {
  const runs: BlockRun[] = [];
  for (let from = 0, end = 1; from < blocks.length; from = end, end += 1) {
    const at = atOf(blocks[from]);
    while (end < blocks.length && atOf(blocks[end]) - atOf(blocks[end - 1]) <= apartBytes) {
      if (atOf(blocks[end]) + AREA_BLOCK_BYTES - at > AREA_TRANSFER_BYTES) break;
      end += 1;
    }
    const lengthBytes = atOf(blocks[end - 1]) + AREA_BLOCK_BYTES - at;
    runs.push({ at, lengthBytes, blocks: blocks.slice(from, end) });
  }
  return runs;
}

const atOf = (placed: PlacedBlock | undefined): number => placed?.at ?? 0;
