import { BITMAP_PAGE_BYTES, RegionBitmap } from '../src/mirror/area/region-bitmap.js';
import { REGION_SIZE_BYTES } from '../src/protocol/geometry.js';

const MEDIA_BYTES = 4 * 2 ** 40;
/** Writes of 4 KiB at places that look random and are the same in each run. */
const PLACES = 4096;

/** The dirty-region bitmap of 4 TiB: what a write pays for it, and what a resync that looks for work does. */
export function bitmapSuite(): {
  readonly name: string;
  readonly cases: Readonly<Record<string, () => unknown>>;
} {
  const offsets = Float64Array.from(
    { length: PLACES },
    (_, index) => ((index * 2_654_435_761) % 2 ** 30) * 4096,
  );
  const marked = new RegionBitmap(MEDIA_BYTES);
  const turning = new RegionBitmap(MEDIA_BYTES);
  const sparse = new RegionBitmap(MEDIA_BYTES);
  const last = sparse.regionCount - 1;
  sparse.markRegion(last);
  const other = new RegionBitmap(MEDIA_BYTES);
  for (const offsetBytes of offsets) other.mark({ offsetBytes, lengthBytes: 4096 });
  const bytes = Buffer.alloc(BITMAP_PAGE_BYTES);
  const range = { offsetBytes: 0, lengthBytes: 4096 };
  let at = 0;
  const nextOffset = (): number => {
    at = (at + 1) % PLACES;
    return offsets[at] ?? 0;
  };
  let from = 0;
  return {
    name: 'region bitmap of 4 TiB',
    cases: {
      'mark 4 KiB, marked mostly': () => {
        range.offsetBytes = nextOffset();
        marked.mark(range);
      },
      'mark and clear a region': () => {
        const region = Math.floor(nextOffset() / REGION_SIZE_BYTES);
        turning.markRegion(region);
        turning.clear(region);
      },
      'next marked of 4,096 scattered': () => {
        from = other.nextMarked(from + 1);
        if (from < 0) from = 0;
      },
      'next marked, one at the end': () => sparse.nextMarked(0),
      'union with 4,096 scattered': () => marked.union(other),
      'write one page': () => other.writePage(0, bytes, 0),
    },
  };
}
