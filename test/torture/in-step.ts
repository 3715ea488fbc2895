import { closeSync, openSync, readSync } from 'node:fs';
import { AREA_BLOCK_BYTES, AREA_KIND, blockState, sequenceOf } from '../../src/protocol/area-block.js';
import { areaOffsetBytes, superblockAt } from '../../src/protocol/area-layout.js';
import { decodeSuperblock, NO_UUID, type Superblock } from '../../src/protocol/superblock.js';

/**
 * The images that nobody had lost when their mirror died, as their superblocks say: on a busy machine a component may be
 * dropped at any time, and it is written down before anything is answered without it.
 */
export function inStep(images: readonly string[], mediaSizeBytes: number): string[] {
  const all = images.map((image) => ({ image, superblock: superblockOf(image, mediaSizeBytes) }));
  return all
    .filter(({ superblock: { slot, isInconsistent } }) => {
      const isLost = all.some((other) => other.superblock.slots[slot]?.lostAt !== NO_UUID);
      return !isLost && !isInconsistent;
    })
    .map(({ image }) => image);
}

/** Throws if somebody had lost one of them, or was copying to it. */
export function requireInStep(images: readonly string[], mediaSizeBytes: number): void {
  const whole = inStep(images, mediaSizeBytes);
  const behind = images.filter((image) => !whole.includes(image));
  if (behind.length > 0) throw new Error(`${behind.join(', ')}: not in step, as the superblocks say`);
}

/** The newer one of its copies. */
function superblockOf(image: string, mediaSizeBytes: number): Superblock {
  const fd = openSync(image, 'r');
  try {
    const copies = ([0, 1] as const).map((copy) => {
      const block = Buffer.alloc(AREA_BLOCK_BYTES);
      readSync(fd, block, 0, AREA_BLOCK_BYTES, areaOffsetBytes(mediaSizeBytes) + superblockAt(copy));
      return block;
    });
    const [newest] = copies
      .filter((block) => blockState(block, AREA_KIND.superblock, null) === 'valid')
      .sort((one, other) => sequenceOf(other) - sequenceOf(one));
    if (newest === undefined) throw new Error(`${image} has no superblock`);
    return decodeSuperblock(newest);
  } finally {
    closeSync(fd);
  }
}
