import { createRequire } from 'node:module';
import { REGION_SIZE_BYTES, regionCount } from './geometry.js';

interface Crc32cModule {
  calculate(data: Buffer, initial?: number): number;
}

// The package has no types and no ES module.
const implementation = createRequire(import.meta.url)('fast-crc32c') as Crc32cModule;

/** CRC32C (Castagnoli) of `data`; `initial` is the checksum of what came before it. */
export const crc32c = (data: Buffer, initial = 0): number => implementation.calculate(data, initial);

/**
 * The checksums of the regions of `data`, which starts at a region's start, as CHECKSUM answers them: four bytes each,
 * big-endian. They are written to `into` from `intoAt` on. Returns how many bytes were written.
 */
export function checksumRegions(data: Buffer, into: Buffer, intoAt: number): number {
  const count = regionCount(data.length);
  for (let index = 0; index < count; index++) {
    const startAt = index * REGION_SIZE_BYTES;
    into.writeUInt32BE(crc32c(data.subarray(startAt, startAt + REGION_SIZE_BYTES)), intoAt + index * 4);
  }
  return count * 4;
}
