import type { BlockIo, DeviceError } from '../device/block-device.js';
import { CLEAR_PIECES_MAX, CLEAR_PIECE_BYTES } from './limits.js';
import { MirrorWrite, type WriteHost } from './mirror-write.js';

/** Starts a write, trim or write-zeroes of a caller's: io.done is called once, and never within this call. */
export function startChange(host: WriteHost, io: BlockIo): void {
  const isLong = io.op !== 'write' && io.lengthBytes > CLEAR_PIECE_BYTES;
  if (isLong) new LongClear(host, io).start();
  else new MirrorWrite(host, io).start();
}

/**
 * A long trim or write-zeroes in pieces that lie each in one extent of the activity log, a few at a time. Other writes
 * wait for the pieces that they overlap, not for all of it. After an error no further piece is started.
 */
class LongClear {
  #atBytes: number;
  readonly #endBytes: number;
  #underWay = 0;
  #failure: DeviceError | null = null;

  constructor(
    private readonly host: WriteHost,
    private readonly io: BlockIo,
  ) {
    this.#atBytes = io.offsetBytes;
    this.#endBytes = io.offsetBytes + io.lengthBytes;
  }

  start(): void {
    // It counts as a write of its own, for between its pieces there may be none.
    this.host.began();
    while (this.#underWay < CLEAR_PIECES_MAX && this.#atBytes < this.#endBytes) this.#startNext();
  }

  #startNext(): void {
    const offsetBytes = this.#atBytes;
    const leftInExtentBytes = CLEAR_PIECE_BYTES - (offsetBytes % CLEAR_PIECE_BYTES);
    const lengthBytes = Math.min(leftInExtentBytes, this.#endBytes - offsetBytes);
    this.#atBytes += lengthBytes;
    this.#underWay += 1;
    const { op } = this.io;
    const done = (error: DeviceError | null): void => this.#done(error);
    new MirrorWrite(this.host, { op, offsetBytes, lengthBytes, buffer: null, bufferAt: 0, done }).start();
  }

  #done(error: DeviceError | null): void {
    this.#underWay -= 1;
    this.#failure ??= error;
    if (this.#failure === null && this.#atBytes < this.#endBytes) this.#startNext();
    if (this.#underWay > 0) return;
    this.host.ended();
    this.io.done(this.#failure);
  }
}
