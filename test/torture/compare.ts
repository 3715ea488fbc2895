import { headOf } from '../support/image-head.js';
import { readSector, SECTOR_BYTES } from './blocks.js';

const SHOWN = 12;

/** Images that should be the same, by their names. */
export interface Compared {
  readonly images: ReadonlyMap<string, string>;
  readonly lengthBytes: number;
  readonly seed: number;
}

/** Throws if they are not, with what `tell` says of the writes that are found there. */
export function requireSame(compared: Compared, tell: (writeNumber: number) => string): void {
  const different = differences(compared);
  if (different === null) return;
  const numbers = [...different.matchAll(/ has (\d+)/g)].map(([, number]) => Number(number));
  throw new Error(`${different}\n${[...new Set(numbers)].map(tell).join('\n')}`);
}

/** Where the images differ, and what they say there; null if they don't. */
function differences({ images, lengthBytes, seed }: Compared): string | null {
  const contents = [...images].map(([name, path]) => ({ name, bytes: headOf(path, lengthBytes) }));
  const [first, ...others] = contents;
  if (first === undefined || others.every(({ bytes }) => bytes.equals(first.bytes))) return null;
  const lines: string[] = [];
  let count = 0;
  for (let at = 0; at < lengthBytes; at += SECTOR_BYTES) {
    const isSame = ({ bytes }: { readonly bytes: Buffer }): boolean =>
      bytes.compare(first.bytes, at, at + SECTOR_BYTES, at, at + SECTOR_BYTES) === 0;
    if (others.every(isSame)) continue;
    count += 1;
    const sector = at / SECTOR_BYTES;
    const says = contents.map(({ name, bytes }) => `${name} has ${readSector(bytes, at, sector, seed)}`);
    if (count <= SHOWN) lines.push(`sector ${sector}: ${says.join(', ')}`);
  }
  return `${count} sectors differ:\n${lines.join('\n')}`;
}
