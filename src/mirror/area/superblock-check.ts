import type { ContentCheck } from '../../device/content-check.js';
import { AREA_BLOCK_BYTES } from '../../protocol/area-block.js';
import { superblockAt } from '../../protocol/area-layout.js';
import type { AreaStore } from './area-store.js';
import { findSuperblock } from './area-superblock.js';

/**
 * Whether a provider has no newer superblock than we know of, but for one of our own whose answer was lost. Any other is
 * another mirror's, which has used it while we could not see it, and nothing that we know of its data is true any more:
 * before that one wrote anything else it has written a superblock that is none of ours. `atBytes` is where the area begins.
 */
export const superblockCheck = (area: AreaStore, atBytes: number): ContentCheck => ({
  offsetBytes: atBytes + superblockAt(0),
  lengthBytes: 2 * AREA_BLOCK_BYTES,
  holds(bytes) {
    const blocks = [bytes.subarray(0, AREA_BLOCK_BYTES), bytes.subarray(AREA_BLOCK_BYTES)] as const;
    const found = findSuperblock([...blocks], { startBytes: atBytes, roomBytes: Number.MAX_SAFE_INTEGER });
    if (found.state !== 'ok') return false;
    const { areaId, sequence } = found.superblock;
    if (!areaId.equals(area.superblock.areaId)) return false;
    return sequence <= area.superblock.sequence || area.mayHaveWritten(found.block);
  },
});
