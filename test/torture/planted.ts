/**
 * Loaded into the programs of a torture that has to fail, before anything else of them (mistakes.ts). Each mistake is one
 * that really could be made, and happens now and then, where the clients write: never in a label or private area, and
 * not in the file system.
 */
import { closeSync, openSync, statSync, writeSync } from 'node:fs';
import type { BlockIo } from '../../src/device/block-device.js';
import { SyncFile } from '../../src/device/sync-file.js';
import { RegionBitmap } from '../../src/mirror/area/region-bitmap.js';
import { Component, type ComponentIo } from '../../src/mirror/component.js';
import { MirrorWrite } from '../../src/mirror/mirror-write.js';
import { RegionWrite } from '../../src/mirror/sweep/region-write.js';
import { ResyncPiece } from '../../src/mirror/sweep/resync-piece.js';
import type { ResyncPieceOptions } from '../../src/mirror/sweep/resync-piece.js';
import type { Mistake } from './mistakes.js';

/** Behind the file system, and before the private area. */
const [FROM_BYTES, TO_BYTES] = [10 * 1_048_576, 23 * 1_048_576];
const SECTOR_BYTES = 512;
const EARLY_MS = 300;

const isData = (offsetBytes: number): boolean => offsetBytes >= FROM_BYTES && offsetBytes < TO_BYTES;

/** True each time that many times. */
function everyTime(many: number): () => boolean {
  let count = 0;
  return () => ++count % many === 0;
}

/** What is private of the objects that are meddled with. */
type Meddled<Fields> = { -readonly [Key in keyof Fields]: Fields[Key] };
interface PieceSelf {
  readonly options: Meddled<ResyncPieceOptions>;
}
type WriteSelf = Meddled<Pick<MirrorWrite, 'op' | 'offsetBytes' | 'lengthBytes' | 'buffer' | 'bufferAt'>> & {
  io: Pick<BlockIo, 'done'>;
};

type WordsOf<Self, Name extends keyof Self> = Self[Name] extends (...words: infer Words) => void
  ? Words
  : never;

/** Replaces a method. The new one gets the old one, and whose it is, before the words. */
function replace<Self, Name extends keyof Self>(
  { prototype }: { readonly prototype: Self },
  name: Name,
  by: (old: (...words: WordsOf<Self, Name>) => void, self: Self, ...words: WordsOf<Self, Name>) => void,
): void {
  const old = prototype[name] as (...words: WordsOf<Self, Name>) => void;
  const other = function (this: Self, ...words: WordsOf<Self, Name>): void {
    by((...given) => old.apply(this, given), this, ...words);
  };
  Object.assign(prototype as object, { [name]: other });
}

/** What another component is asked in this one's name. */
const asIfBy = (component: Component, io: ComponentIo): ComponentIo => ({
  ...{ op: io.op, offsetBytes: io.offsetBytes, lengthBytes: io.lengthBytes },
  ...{ buffer: io.buffer, bufferAt: io.bufferAt },
  answered: (_, error) => io.answered(component, error),
});

const PLANTS: Readonly<Record<Mistake, () => void>> = {
  'server-forgets-writes': () => {
    const isTime = everyTime(5);
    replace(SyncFile, 'writeSync', (write, _, ...words) => {
      if (!isData(words[3]) || !isTime()) write(...words);
    });
  },
  'server-tears-writes': () => {
    const isTime = everyTime(5);
    replace(SyncFile, 'writeSync', (write, _, buffer, at, lengthBytes, offsetBytes) => {
      const isTorn = isData(offsetBytes) && lengthBytes > SECTOR_BYTES && isTime();
      write(buffer, at, isTorn ? lengthBytes - SECTOR_BYTES : lengthBytes, offsetBytes);
    });
  },
  'server-misplaces-writes': () => {
    const isTime = everyTime(50);
    replace(SyncFile, 'writeSync', (write, _, buffer, at, lengthBytes, offsetBytes) => {
      const isAstray = isData(offsetBytes) && isTime();
      write(buffer, at, lengthBytes, isAstray ? offsetBytes + SECTOR_BYTES : offsetBytes);
    });
  },
  'server-reads-old-data': () => {
    const isTime = everyTime(20);
    const first = new Map<string, Buffer>();
    replace(SyncFile, 'readSync', (read, _, buffer, at, lengthBytes, offsetBytes) => {
      read(buffer, at, lengthBytes, offsetBytes);
      if (!isData(offsetBytes)) return;
      const key = `${offsetBytes} ${lengthBytes}`;
      const old = first.get(key);
      if (old === undefined) first.set(key, Buffer.from(buffer.subarray(at, at + lengthBytes)));
      else if (isTime()) old.copy(buffer, at);
    });
  },
  'server-spoils-labels': () => {
    const image = process.argv.at(-1) ?? '';
    if (!process.argv.includes('serve')) return;
    process.on('exit', () => {
      const fd = openSync(image, 'r+');
      writeSync(fd, Buffer.alloc(100, 1), 0, 100, statSync(image).size - SECTOR_BYTES + 40);
      closeSync(fd);
    });
  },
  'mirror-skips-backup': () => {
    const isTime = everyTime(20);
    replace(Component, 'start', (start, component, io) => {
      const isSkipped =
        io.op === 'write' && isData(io.offsetBytes) && !component.identity.isLocal && isTime();
      if (isSkipped) queueMicrotask(() => io.answered(component, null));
      else start(io);
    });
  },
  'mirror-answers-early': () => {
    const isTime = everyTime(20);
    replace(MirrorWrite, 'start', (start, self) => {
      const write = self as unknown as WriteSelf;
      const { io, buffer, bufferAt, offsetBytes, lengthBytes } = write;
      if (buffer === null || !isData(offsetBytes) || !isTime()) {
        start();
        return;
      }
      // It was lent only until the answer.
      write.buffer = Buffer.from(buffer.subarray(bufferAt, bufferAt + lengthBytes));
      write.bufferAt = 0;
      write.io = { done: () => undefined };
      queueMicrotask(() => io.done(null));
      setTimeout(start, EARLY_MS);
    });
  },
  'mirror-forgets-marks': () => {
    const isTime = everyTime(3);
    replace(RegionBitmap, 'mark', (mark, _, range) => {
      if (!isData(range.offsetBytes) || !isTime()) mark(range);
    });
  },
  'mirror-reads-stale-components': () => {
    const all = new Set<Component>();
    const isTime = everyTime(10);
    replace(Component, 'start', (start, component, io) => {
      all.add(component);
      const stale = [...all].find(({ isConnected, state }) => isConnected && state !== 'ACTIVE');
      if (io.op !== 'read' || !isData(io.offsetBytes) || stale === undefined || !isTime()) start(io);
      else if (component === stale) start(io);
      else stale.start(asIfBy(component, io));
    });
  },
  'resync-skips-regions': () => {
    const isTime = everyTime(2);
    replace(ResyncPiece, 'granted', (granted, piece) => {
      if (!isData(piece.offsetBytes) || !isTime()) {
        granted();
        return;
      }
      const { options } = piece as unknown as PieceSelf;
      options.locks.release(piece);
      options.done(piece);
    });
  },
  'resync-goes-the-wrong-way': () => {
    const all = new Set<Component>();
    replace(Component, 'start', (start, self, io) => {
      all.add(self);
      start(io);
    });
    replace(ResyncPiece, 'granted', (granted, piece) => {
      const { options } = piece as unknown as PieceSelf;
      const { target } = options;
      if (isData(piece.offsetBytes)) {
        options.asking.shouldAsk = () => false;
        options.read = (io) => target.start(io as unknown as ComponentIo);
      }
      granted();
    });
    replace(RegionWrite, 'start', (start, _, target, share, range) => {
      const source = [...all].find(({ state }) => state === 'ACTIVE');
      start(isData(range.offsetBytes) ? (source ?? target) : target, share, range);
    });
  },
};

/** Called as soon as this is loaded. */
export const plant = (mistake: Mistake): void => PLANTS[mistake]();
