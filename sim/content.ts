import { SECTOR_BYTES } from './disk.js';

/** What a sector that was zeroed, or never written, says. */
export const ZEROES = 0;
const ZERO_SECTOR = Buffer.alloc(SECTOR_BYTES);

/** Fills sectors with their own numbers and that of the write, so that each tells where it belongs and from when it is. */
export function fillSectors(into: Buffer, firstSector: number, writeNumber: number): void {
  const word = Buffer.alloc(8);
  word.writeUInt32LE(writeNumber, 4);
  for (let at = 0; at < into.length; at += SECTOR_BYTES) {
    word.writeUInt32LE(firstSector + at / SECTOR_BYTES, 0);
    into.fill(word, at, at + SECTOR_BYTES);
  }
}

/** The number of the write that a sector is from, or what is wrong with it. */
export function readSector(bytes: Buffer, at: number, sector: number): number | string {
  const writeNumber = bytes.readUInt32LE(at + 4);
  const says = bytes.readUInt32LE(at);
  if (says === 0 && writeNumber === 0) {
    return bytes.compare(ZERO_SECTOR, 0, SECTOR_BYTES, at, at + SECTOR_BYTES) === 0 ? ZEROES : 'torn';
  }
  if (says !== sector) return `content of sector ${says}`;
  const isWhole = bytes.compare(bytes, at, at + SECTOR_BYTES - 8, at + 8, at + SECTOR_BYTES) === 0;
  return isWhole ? writeNumber : 'torn';
}
