import { closeSync, openSync, readSync } from 'node:fs';

/** The first bytes of an image. */
export function headOf(image: string, lengthBytes: number): Buffer {
  const bytes = Buffer.alloc(lengthBytes);
  const fd = openSync(image, 'r');
  try {
    for (let at = 0; at < lengthBytes;) {
      const count = readSync(fd, bytes, at, lengthBytes - at, at);
      if (count === 0) throw new Error(`${image} has only ${at} bytes`);
      at += count;
    }
  } finally {
    closeSync(fd);
  }
  return bytes;
}
