import { randomFillSync } from 'node:crypto';
import { closeSync, openSync, readSync, writeSync } from 'node:fs';

const MIB = 1_048_576;

/** Makes an image of random bytes, since zeroes could be holes, and reads it once, so that it is in the page cache. */
export function makeImage(path: string, imageMiB: number): void {
  const chunk = Buffer.alloc(MIB);
  const file = openSync(path, 'w+');
  for (let written = 0; written < imageMiB; written++) writeSync(file, randomFillSync(chunk));
  for (let at = 0; at < imageMiB; at++) readSync(file, chunk, 0, MIB, at * MIB);
  closeSync(file);
}
