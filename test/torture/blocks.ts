import { crc32c } from '../../src/protocol/crc32c.js';

/** The unit in which contents are told apart; a write is torn between sectors at the finest. */
export const SECTOR_BYTES = 512;
const WORD_BYTES = 32;
const MAGIC = 'ggtortur';

/** What a sector that was zeroed, or never written, says. */
export const ZEROES = 0;
const ZERO_SECTOR = Buffer.alloc(SECTOR_BYTES);

/**
 * Where in a word what is: the checksum is of the rest before it, and at its end. Such words, as file systems write them
 * too, have the same CRC32C whatever they say.
 */
const AT = { magic: 0, seed: 16, number: 20, sector: 24, crc: 28 } as const;

/**
 * Sectors that tell where they belong, which write they are from and in which run, over and over, each time with a
 * checksum.
 */
export function fillSectors(into: Buffer, firstSector: number, writeNumber: number, seed: number): void {
  const word = Buffer.alloc(WORD_BYTES);
  word.write(MAGIC, AT.magic, 'latin1');
  word.writeUInt32LE(seed, AT.seed);
  word.writeUInt32LE(writeNumber, AT.number);
  for (let at = 0; at < into.length; at += SECTOR_BYTES) {
    word.writeUInt32LE(firstSector + at / SECTOR_BYTES, AT.sector);
    word.writeUInt32LE(crc32c(word.subarray(0, AT.crc)), AT.crc);
    into.fill(word, at, at + SECTOR_BYTES);
  }
}

/** The number of the write that a sector is from, or what is wrong with it. */
export function readSector(bytes: Buffer, at: number, sector: number, seed: number): number | string {
  const content = bytes.subarray(at, at + SECTOR_BYTES);
  if (content.toString('latin1', AT.magic, MAGIC.length) !== MAGIC)
    return content.equals(ZERO_SECTOR) ? ZEROES : `garbage (${content.toString('hex', 0, 24)}...)`;
  if (content.readUInt32LE(AT.crc) !== crc32c(content.subarray(0, AT.crc))) return 'a wrong checksum';
  const [saysSeed, saysSector] = [content.readUInt32LE(AT.seed), content.readUInt32LE(AT.sector)];
  if (saysSeed !== seed) return `content of a run with seed ${saysSeed}`;
  if (saysSector !== sector) return `content of sector ${saysSector}`;
  const isWhole = content.compare(content, WORD_BYTES, SECTOR_BYTES, 0, SECTOR_BYTES - WORD_BYTES) === 0;
  return isWhole ? content.readUInt32LE(AT.number) : 'parts of several writes';
}
