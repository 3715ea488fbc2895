import { assert } from '../../protocol/errors.js';
import { checksumsBytes } from '../../protocol/region-checksums.js';
import type { BlockIo, DeviceError } from '../block-device.js';
import type { FileDevice } from '../file-device.js';
import { FlushTurns } from '../flush-turns.js';
import { SLOW_PIECE_BYTES_MAX } from './limits.js';

/**
 * Flushes, trims, zeroes and checksums, which run on Node's thread pool beside the disk's thread. At most one flush and
 * one other are under way: a disk that hangs keeps their threads, and the pool, four as a rule, is the whole process's.
 * So all flushes that wait are served by one: see FlushTurns.
 */
export class SlowLane {
  readonly #flushes: FlushTurns<BlockIo>;
  #running: BlockIo | null = null;
  #waiting: BlockIo[] = [];
  #isAbandoned = false;

  /** `finish` is told of each request once, but for those that abandon() returns. */
  constructor(
    private readonly file: FileDevice,
    private readonly finish: (io: BlockIo, error: DeviceError | null) => void,
  ) {
    this.#flushes = new FlushTurns({
      begin: () => this.#flush(),
      answer: (ios, error) => {
        for (const io of ios) finish(io, error);
      },
    });
  }

  start(io: BlockIo): void {
    if (io.op === 'flush') this.#flushes.add(io);
    else {
      this.#waiting.push(io);
      this.#next();
    }
  }

  /** Returns what is not finished. Nothing begins from now on, and no buffer of those is touched. */
  abandon(): BlockIo[] {
    this.#isAbandoned = true;
    const running = this.#running === null ? [] : [this.#running];
    const all = [...this.#flushes.running, ...this.#flushes.takeWaiting(), ...running, ...this.#waiting];
    this.#running = null;
    this.#waiting = [];
    return all;
  }

  #flush(): void {
    const done = (error: DeviceError | null): void => {
      if (!this.#isAbandoned) this.#flushes.ended(error);
    };
    this.file.start({ op: 'flush', offsetBytes: 0, lengthBytes: 0, buffer: null, bufferAt: 0, done });
  }

  #next(): void {
    if (this.#running !== null) return;
    const io = this.#waiting.shift();
    if (io === undefined) return;
    this.#running = io;
    this.#startPiece(io, 0);
  }

  #startPiece(io: BlockIo, doneBytes: number): void {
    const lengthBytes = Math.min(SLOW_PIECE_BYTES_MAX, io.lengthBytes - doneBytes);
    // Checksums go to memory of our own: the caller's is not to be touched by a read that comes back too late.
    const sums = io.op === 'checksum' ? Buffer.alloc(checksumsBytes(lengthBytes)) : null;
    const done = (error: DeviceError | null): void => {
      if (this.#isAbandoned) return;
      if (error === null && sums !== null) {
        assert(io.buffer !== null, `${this.file.name}: checksum without a buffer`);
        sums.copy(io.buffer, io.bufferAt + checksumsBytes(doneBytes));
      }
      const nowDoneBytes = doneBytes + lengthBytes;
      if (error === null && nowDoneBytes < io.lengthBytes) {
        this.#startPiece(io, nowDoneBytes);
        return;
      }
      this.#running = null;
      this.#next();
      this.finish(io, error);
    };
    const offsetBytes = io.offsetBytes + doneBytes;
    this.file.start({ op: io.op, offsetBytes, lengthBytes, buffer: sums, bufferAt: 0, done });
  }
}
