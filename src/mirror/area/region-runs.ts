import { REGION_SIZE_BYTES, type ByteRange } from '../../protocol/geometry.js';
import type { RegionBitmap, RegionRun } from './region-bitmap.js';

/** The bytes of regions; the last one of a medium may be shorter. */
export function rangeOfRun({ firstRegion, regionCount }: RegionRun, mediaSizeBytes: number): ByteRange {
  const offsetBytes = firstRegion * REGION_SIZE_BYTES;
  return {
    offsetBytes,
    lengthBytes: Math.min(regionCount * REGION_SIZE_BYTES, mediaSizeBytes - offsetBytes),
  };
}

/** Takes away the marks of all regions that `settled` has. */
export function clearMarks(marks: RegionBitmap, settled: RegionBitmap): void {
  let run = settled.nextMarkedRun(0, settled.regionCount);
  while (run !== null) {
    marks.clearRun(run.firstRegion, run.regionCount);
    run = settled.nextMarkedRun(run.firstRegion + run.regionCount, settled.regionCount);
  }
}
