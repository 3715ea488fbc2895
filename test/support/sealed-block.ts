import { crc32c } from '../../src/protocol/crc32c.js';

/** The block with the CRC32C of what is before them in its last four bytes, as file systems write many of theirs. */
export function sealed(block: Buffer): Buffer {
  const at = block.length - 4;
  const copy = Buffer.from(block);
  copy.writeUInt32LE(crc32c(block.subarray(0, at)), at);
  return copy;
}
