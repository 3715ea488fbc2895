import { execFileSync } from 'node:child_process';
import { closeSync, fstatSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { AREA_BLOCK_BYTES, AREA_KIND, blockState, sequenceOf } from '../../src/protocol/area-block.js';
import { areaOffsetBytes, areaSizeBytes } from '../../src/protocol/area-layout.js';
import type { SeededRandom } from '../support/seeded-random.js';

/**
 * What of a component's metadata is spoiled. It gets over one block of a `superblock`, `log` or `bitmap` by itself; with
 * `area` (both superblocks) or `label` it is a component no more until it is inserted anew.
 */
export const SPOILS = ['superblock', 'log', 'bitmap', 'area', 'label'] as const;
export type Spoil = (typeof SPOILS)[number];

/**
 * Only while nobody has the image open. A disk that goes bad does not change the image's times. False if there was
 * nothing to spoil.
 */
export function spoil(image: string, what: Spoil, mediaSizeBytes: number, random: SeededRandom): boolean {
  const reference = `${image}.times`;
  execFileSync('touch', ['-r', image, reference]);
  const fd = openSync(image, 'r+');
  try {
    const range = rangeOf(fd, what, mediaSizeBytes, random);
    if (range === null) return false;
    const bytes = random.bytes(range.lengthBytes);
    return writeSync(fd, bytes, 0, bytes.length, range.offsetBytes) > 0;
  } catch (error) {
    // A block that was never written, on a disk that is full: there is nothing to spoil.
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
    return false;
  } finally {
    closeSync(fd);
    execFileSync('touch', ['-r', reference, image]);
    rmSync(reference);
  }
}

interface Range {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

function rangeOf(fd: number, what: Spoil, mediaSizeBytes: number, random: SeededRandom): Range | null {
  const offsetBytes = areaOffsetBytes(mediaSizeBytes);
  // Not its magic: one without a label at all is refused also by a degraded start, for it may be anything.
  if (what === 'label') return { offsetBytes: fstatSync(fd).size - 512 + 40, lengthBytes: 100 };
  if (what === 'area') return { offsetBytes, lengthBytes: 2 * AREA_BLOCK_BYTES };
  const blocks = blocksOf(fd, what, mediaSizeBytes);
  const [newest] = blocks;
  if (newest === undefined) return null;
  const one = random.chance(0.5) ? newest : random.pick(blocks);
  return { offsetBytes: one.offsetBytes, lengthBytes: AREA_BLOCK_BYTES };
}

/** Those that say something, the newest first. */
function blocksOf(
  fd: number,
  kind: keyof typeof AREA_KIND,
  mediaSizeBytes: number,
): { readonly offsetBytes: number; readonly sequence: number }[] {
  const areaAt = areaOffsetBytes(mediaSizeBytes);
  const count = areaSizeBytes(mediaSizeBytes) / AREA_BLOCK_BYTES;
  const found = Array.from({ length: count }, (_, index) => {
    const [block, offsetBytes] = [Buffer.alloc(AREA_BLOCK_BYTES), areaAt + index * AREA_BLOCK_BYTES];
    readSync(fd, block, 0, AREA_BLOCK_BYTES, offsetBytes);
    const isValid = blockState(block, AREA_KIND[kind], null) === 'valid';
    return isValid ? [{ offsetBytes, sequence: sequenceOf(block) }] : [];
  });
  return found.flat().sort((one, other) => other.sequence - one.sequence);
}
