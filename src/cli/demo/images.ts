import { createHash } from 'node:crypto';
import { createReadStream, promises as fs } from 'node:fs';
import { createImage } from '../../device/file-device.js';

const PIECE_BYTES = 1_048_576;

/**
 * Makes a sparse image of `sizeBytes` whose first `dataBytes` are those of the Node program that runs this, from
 * `fromBytes` on: real data, and there on every machine. The rest is a hole.
 */
export async function makeImage(
  path: string,
  sizeBytes: number,
  dataBytes: number,
  fromBytes = 0,
): Promise<void> {
  await createImage(path, sizeBytes);
  const source = await fs.open(process.execPath);
  const image = await fs.open(path, 'r+');
  try {
    const { size } = await source.stat();
    const piece = Buffer.alloc(PIECE_BYTES);
    let atBytes = 0;
    while (atBytes < dataBytes) {
      const wantedBytes = Math.min(PIECE_BYTES, dataBytes - atBytes);
      const { bytesRead } = await source.read(piece, 0, wantedBytes, (fromBytes + atBytes) % size);
      if (bytesRead === 0) throw new Error(`${process.execPath} became shorter while it was read`);
      await image.write(piece, 0, bytesRead, atBytes);
      atBytes += bytesRead;
    }
  } finally {
    await source.close();
    await image.close();
  }
}

/** Of the first `lengthBytes` of a file, or of all of it. Hexadecimal. */
export async function sha256(path: string, lengthBytes = Infinity): Promise<string> {
  const hash = createHash('sha256');
  for await (const piece of createReadStream(path, { highWaterMark: PIECE_BYTES, end: lengthBytes - 1 }))
    hash.update(piece as Buffer);
  return hash.digest('hex');
}
