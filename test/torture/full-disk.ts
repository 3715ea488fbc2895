import { closeSync, openSync, rmSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';

const fillerOf = (image: string): string => join(dirname(image), 'filler');

/** Nothing is left of the file system under an image, which nothing else is on. */
export function fillDisk(image: string): void {
  const fd = openSync(fillerOf(image), 'a');
  try {
    for (const sizeBytes of [65_536, 4096]) fillBy(fd, Buffer.alloc(sizeBytes, 1));
  } finally {
    closeSync(fd);
  }
}

export function clearDisk(image: string): void {
  rmSync(fillerOf(image), { force: true });
}

function fillBy(fd: number, bytes: Buffer): void {
  try {
    for (;;) writeSync(fd, bytes);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
  }
}
