import {
  closeSync,
  constants,
  fstatSync,
  mkdirSync,
  openSync,
  readSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';

/** Where a note outlives its process; none of it throws. */
export interface NoteKeeper {
  /** As the process before left it. */
  readonly wasInDoubt: boolean;
  keep(isInDoubt: boolean): void;
  /** Nothing is kept from now on; if there is a doubt, what was kept of it stays. */
  close(isInDoubt: boolean): void;
}

/**
 * Whether a flush of a file or disk has failed, or may have, and nobody has seen to it yet: kept so that it outlives a
 * process that is killed between the failure and what it does about it. Linux tells of a failed flush once, and what was
 * not written stays in its cache as if it were; whoever opens the medium next would take that for flushed.
 */
export class FlushNote {
  #isInDoubt: boolean;
  #running = 0;
  #kept: boolean;

  constructor(private readonly keeper: NoteKeeper) {
    this.#isInDoubt = keeper.wasInDoubt;
    this.#kept = keeper.wasInDoubt;
  }

  /** Not while a flush is only under way. */
  get isInDoubt(): boolean {
    return this.#isInDoubt;
  }

  /** Rejects as `flush` does. */
  async during(flush: () => Promise<void>): Promise<void> {
    this.#running += 1;
    this.#keep();
    try {
      await flush();
    } catch (error) {
      this.#isInDoubt = true;
      throw error;
    } finally {
      this.#running -= 1;
      this.#keep();
    }
  }

  /** What the medium may lack is written to it anew and flushed, or noted elsewhere, on stable storage. */
  settle(): void {
    this.#isInDoubt = false;
    this.#keep();
  }

  /** Before the medium is closed. */
  close(): void {
    this.keeper.close(this.#kept);
  }

  #keep(): void {
    const isUnsure = this.#isInDoubt || this.#running > 0;
    if (isUnsure === this.#kept) return;
    this.#kept = isUnsure;
    this.keeper.keep(isUnsure);
  }
}

const IN_DOUBT = '!';
const CLEAN = '.';

/**
 * The note of an open file or disk that nobody else writes, as a file in `directory`, which is to be one that a restart of
 * the host empties, as the run directory is: the cache goes with it, so there is nothing left to doubt. Where there can be
 * no such file the note does not outlive its process, since to serve and to mirror need no such privilege.
 */
export function openFlushNote(directory: string, mediumFd: number): FlushNote {
  try {
    return new FlushNote(new FileKeeper(join(directory, noteName(mediumFd))));
  } catch {
    const forgotten = (): void => undefined;
    return new FlushNote({ wasInDoubt: false, keep: forgotten, close: forgotten });
  }
}

function noteName(mediumFd: number): string {
  const stats = fstatSync(mediumFd, { bigint: true });
  return stats.isFile() ? `file-${stats.dev}-${stats.ino}.flush` : `disk-${stats.rdev}.flush`;
}

/** One byte, which is there while its medium is open, and after that if it says that there is a doubt. */
class FileKeeper implements NoteKeeper {
  readonly wasInDoubt: boolean;
  readonly #fd: number;
  #isClosed = false;

  constructor(private readonly path: string) {
    mkdirSync(dirname(path), { recursive: true, mode: 0o750 });
    this.#fd = openSync(path, constants.O_RDWR + constants.O_CREAT, 0o600);
    const byte = Buffer.alloc(1);
    this.wasInDoubt = readSync(this.#fd, byte, 0, 1, 0) === 1 && byte.toString('latin1') === IN_DOUBT;
  }

  keep(isInDoubt: boolean): void {
    if (this.#isClosed) return;
    try {
      writeSync(this.#fd, isInDoubt ? IN_DOUBT : CLEAN, 0);
    } catch {
      // A run directory without room for one byte: then the note lives as long as the process.
    }
  }

  close(isInDoubt: boolean): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    try {
      if (!isInDoubt) unlinkSync(this.path);
      closeSync(this.#fd);
    } catch {
      // It was removed by somebody else, who cleaned the directory.
    }
  }
}
