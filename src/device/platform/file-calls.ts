import { readSync, writeSync } from 'node:fs';
import { assert } from '../../protocol/errors.js';
import { native as systemNative, type Native, type NativeFunction } from './native.js';

/** At `positionBytes`, or with null where the descriptor stands. Returns how many bytes it moved, 0 at the end. */
type FileCall = (
  fd: number,
  buffer: Buffer,
  at: number,
  lengthBytes: number,
  positionBytes: number | null,
) => number;

/** The system's blocking reads and writes. They throw Node's kind of error; a write never with EINTR. */
export interface FileCalls {
  readonly readSync: FileCall;
  readonly writeSync: FileCall;
}

/** Node's. */
export const nodeCalls: FileCalls = { readSync, writeSync };

/** The fastest that there are here, for a caller that reads into one buffer all the time, and writes from one. */
export function fastCalls(): FileCalls {
  const native = systemNative();
  return native === null ? nodeCalls : new DirectCalls(native);
}

/** The C library's, which saves 0.2 us of checking and wrapping each time (docs/performance.md). */
export class DirectCalls implements FileCalls {
  readonly #readInto: BufferAddress;
  readonly #writeFrom: BufferAddress;
  readonly #read: NativeFunction;
  readonly #pread: NativeFunction;
  readonly #write: NativeFunction;
  readonly #pwrite: NativeFunction;

  constructor(private readonly native: Native) {
    this.#readInto = new BufferAddress(native);
    this.#writeFrom = new BufferAddress(native);
    this.#read = native.function('read');
    this.#pread = native.function('pread');
    this.#write = native.function('write');
    this.#pwrite = native.function('pwrite');
  }

  readSync(
    fd: number,
    buffer: Buffer,
    at: number,
    lengthBytes: number,
    positionBytes: number | null,
  ): number {
    const address = this.#readInto.of(buffer, at, lengthBytes);
    const readBytes =
      positionBytes === null
        ? this.#read(fd, address, lengthBytes)
        : this.#pread(fd, address, lengthBytes, positionBytes);
    if (readBytes >= 0) return Number(readBytes);
    throw this.native.failure('read');
  }

  writeSync(
    fd: number,
    buffer: Buffer,
    at: number,
    lengthBytes: number,
    positionBytes: number | null,
  ): number {
    const address = this.#writeFrom.of(buffer, at, lengthBytes);
    for (;;) {
      const writtenBytes =
        positionBytes === null
          ? this.#write(fd, address, lengthBytes)
          : this.#pwrite(fd, address, lengthBytes, positionBytes);
      if (writtenBytes >= 0) return Number(writtenBytes);
      const error = this.native.failure('write');
      if (!('code' in error && error.code === 'EINTR')) throw error;
    }
  }
}

/** Where in memory places within a buffer lie. Remembers the last buffer, which lives as long for it. */
class BufferAddress {
  #buffer: Buffer | null = null;
  #address = 0;

  constructor(private readonly native: Native) {}

  /** The call that gets it can't know where the buffer ends, so that is asserted here. */
  of(buffer: Buffer, at: number, lengthBytes: number): number {
    assert(at >= 0 && lengthBytes >= 0 && at <= buffer.length - lengthBytes, 'file: outside the buffer');
    if (buffer !== this.#buffer) {
      this.#address = this.native.addressOf(buffer);
      this.#buffer = buffer;
    }
    return this.#address + at;
  }
}
