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

/** All marked regions, those that follow each other as one run. */
export function* markedRuns(bitmap: RegionBitmap): Generator<RegionRun> {
  const { regionCount } = bitmap;
  let run = bitmap.nextMarkedRun(0, regionCount);
  while (run !== null) {
    yield run;
    run = bitmap.nextMarkedRun(run.firstRegion + run.regionCount, regionCount);
  }
}

/** Takes away the marks of all regions that `settled` has. */
export function clearMarks(marks: RegionBitmap, settled: RegionBitmap): void {
  for (const { firstRegion, regionCount } of markedRuns(settled)) marks.clearRun(firstRegion, regionCount);
}
