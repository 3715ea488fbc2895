/** One bit of a dirty bitmap and one checksum of the CHECKSUM command. */
export const REGION_SIZE_BYTES = 65_536;

export interface ByteRange {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

/** The one range check (a flush has no range). It forms no sum, so nothing wraps or rounds; NaN fails it. */
export function isInside({ offsetBytes, lengthBytes }: ByteRange, mediaSizeBytes: number): boolean {
  if (!(lengthBytes > 0 && lengthBytes <= mediaSizeBytes)) return false;
  return offsetBytes >= 0 && offsetBytes <= mediaSizeBytes - lengthBytes;
}

export const isPowerOfTwo = (value: number): boolean =>
  Number.isSafeInteger(value) && value > 0 && Number.isInteger(Math.log2(value));

export const isAligned = ({ offsetBytes, lengthBytes }: ByteRange, unitBytes: number): boolean =>
  offsetBytes % unitBytes === 0 && lengthBytes % unitBytes === 0;

/** How many regions the range touches. `offsetBytes` is a multiple of the region size. */
export const regionCount = (lengthBytes: number): number => Math.ceil(lengthBytes / REGION_SIZE_BYTES);
