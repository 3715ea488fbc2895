import { createHash } from 'node:crypto';
import { REGION_SIZE_BYTES, regionCount } from './geometry.js';

/** Of a region's SHA-256 so much is kept: two regions that differ look the same once in 2^64 times. */
export const REGION_CHECKSUM_BYTES = 8;

/** How long the checksums of all regions are that a range of this length touches, from a region's start on. */
export const checksumsBytes = (lengthBytes: number): number =>
  regionCount(lengthBytes) * REGION_CHECKSUM_BYTES;

/**
 * The checksums of the regions of `data`, which starts at a region's start, as CHECKSUM answers them. They are written to
 * `into` from `intoAt` on. Returns how many bytes were written.
 *
 * Not a CRC: a block that ends with the CRC of what is before it, as ext4's directories and superblock and many others
 * do, has the same CRC as a whole whatever it holds, so changes would be taken for none.
 */
export function checksumRegions(data: Buffer, into: Buffer, intoAt: number): number {
  let at = intoAt;
  for (let from = 0; from < data.length; from += REGION_SIZE_BYTES) {
    const sum = createHash('sha256')
      .update(data.subarray(from, from + REGION_SIZE_BYTES))
      .digest();
    at += sum.copy(into, at, 0, REGION_CHECKSUM_BYTES);
  }
  return at - intoAt;
}
