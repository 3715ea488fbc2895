import type { ByteRange } from '../src/protocol/geometry.js';
import { readSector } from './content.js';
import { SECTOR_BYTES, type SimDisk } from './disk.js';
import type { Drive } from './disk-handle.js';
import type { Registers } from './registers.js';

export interface OverwritesOptions {
  readonly registers: Pick<Registers, 'regress'>;
  /** Of what the client sees; behind it are the mirror's own things. */
  readonly mediaSizeBytes: number;
  /** See World. */
  readonly nextOrder: () => number;
  readonly broken: (what: string) => void;
  /** Whether it is not known yet what the last crash has taken; it is judged when that is known. */
  readonly mustWait: () => boolean;
}

interface Change {
  readonly disk: string;
  readonly sector: number;
  readonly before: number;
  /** When that was written, in the order of the world; 0 if it never was. */
  readonly beforeAt: number;
  readonly after: number;
  readonly startedAt: number;
}

/**
 * Looks at every write that reaches a disk, whoever it is from: a client, a resync, a repair, or somebody who was given up
 * long ago. A write that was certainly replaced by a newer one is never put over that, and nothing is ever written where
 * it does not belong.
 */
export class Overwrites {
  readonly #waiting: Change[] = [];
  readonly #bytesTo = new Map<SimDisk, number>();
  /** By sector: when it was written last, in the order of the world. */
  readonly #written = new Map<SimDisk, Map<number, number>>();

  constructor(private readonly options: OverwritesOptions) {}

  watch({ disk, conduct }: Drive): void {
    conduct.beforeWrite = (range, bytes, startedAt) => this.#look(disk, range, bytes, startedAt);
  }

  /** How much was written to it so far, without what is the mirror's own. */
  bytesTo(disk: SimDisk): number {
    return this.#bytesTo.get(disk) ?? 0;
  }

  /** To be called when it is known what the last crash has taken. */
  settle(): void {
    for (const change of this.#waiting.splice(0)) this.#judge(change);
  }

  #look(
    disk: SimDisk,
    { offsetBytes, lengthBytes }: ByteRange,
    bytes: Buffer | null,
    startedAt: number,
  ): void {
    const { mediaSizeBytes, broken } = this.options;
    const end = Math.min(lengthBytes, mediaSizeBytes - offsetBytes);
    if (end <= 0) return;
    this.#bytesTo.set(disk, this.bytesTo(disk) + end);
    const old = Buffer.alloc(end);
    disk.read(offsetBytes, old);
    const written = this.#written.get(disk) ?? new Map<number, number>();
    this.#written.set(disk, written);
    const now = this.options.nextOrder();
    for (let at = 0; at < end; at += SECTOR_BYTES) {
      const sector = (offsetBytes + at) / SECTOR_BYTES;
      const beforeAt = written.get(sector) ?? 0;
      written.set(sector, now);
      if (isAlike(old, bytes, at)) continue;
      const before = readSector(old, at, sector);
      const after = bytes === null ? 0 : readSector(bytes, at, sector);
      if (typeof after === 'string') broken(`sector ${sector} of ${disk.name} is made to say: ${after}`);
      // What is wrong there was found when it was written.
      if (typeof before === 'string' || typeof after === 'string') continue;
      const change = { disk: disk.name, sector, before, beforeAt, after, startedAt };
      if (!this.options.mustWait()) this.#judge(change);
      else if (this.#problemOf(change) !== null) this.#waiting.push(change);
    }
  }

  #judge(change: Change): void {
    const problem = this.#problemOf(change);
    if (problem === null) return;
    const { disk, before, after } = change;
    this.options.broken(`on ${disk} ${after} is put over ${before}, which is newer: ${problem}`);
  }

  #problemOf({ sector, before, beforeAt, after, startedAt }: Change): string | null {
    return this.options.registers.regress({ sector, before, beforeAt, after, startedAt });
  }
}

/** Whether both say the same, by what each sector begins with. */
function isAlike(old: Buffer, bytes: Buffer | null, at: number): boolean {
  if (bytes === null) return old.readUInt32LE(at + 4) === 0 && old.readUInt32LE(at) === 0;
  return old.compare(bytes, at, at + 8, at, at + 8) === 0;
}
