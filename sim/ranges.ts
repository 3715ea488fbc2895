import type { SectorRange } from './registers.js';

const READ_SECTORS_MAX = 256;

/** Ascending sectors as ranges that are read at once. */
export function rangesOf(sectors: readonly number[]): SectorRange[] {
  const ranges: { firstSector: number; sectorCount: number }[] = [];
  for (const sector of sectors) {
    const last = ranges.at(-1);
    const isNext = last !== undefined && sector === last.firstSector + last.sectorCount;
    if (isNext && last.sectorCount < READ_SECTORS_MAX) last.sectorCount += 1;
    else ranges.push({ firstSector: sector, sectorCount: 1 });
  }
  return ranges;
}
