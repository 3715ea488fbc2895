import { createRequire } from 'node:module';

interface Crc32cModule {
  calculate(data: Buffer, initial?: number): number;
}

// The package has no types and no ES module.
const implementation = createRequire(import.meta.url)('fast-crc32c') as Crc32cModule;

/** CRC32C (Castagnoli) of `data`; `initial` is the checksum of what came before it. */
export const crc32c = (data: Buffer, initial = 0): number => implementation.calculate(data, initial);
