import { native as systemNative, type Native } from './native.js';

/** Source: Linux include/uapi/linux/fs.h: fail with EAGAIN rather than wait for the disk. */
const RWF_NOWAIT = 8;
/** Source: Linux struct iovec with 64-bit pointers: base, length. */
const IOVEC_BYTES = 16;
const WORDS = { baseLow: 0, baseHigh: 1, lengthLow: 2 } as const;
/** Not now; a read that waits may have it. */
const TRY_LATER = ['EAGAIN', 'EINTR'];

/**
 * Reads from one file what the system has in memory, without ever waiting for a disk: preadv2 with RWF_NOWAIT, which
 * Linux has for most file systems and disks. Elsewhere, and without the C library, nothing is ever there.
 */
export class CachedReads {
  readonly #iovec = Buffer.alloc(IOVEC_BYTES);
  readonly #words = new Uint32Array(this.#iovec.buffer, this.#iovec.byteOffset, IOVEC_BYTES / 4);
  /** Where memory lies that requests come with again and again. */
  readonly #addresses = new WeakMap<ArrayBufferLike, number>();
  readonly #native: Native | null;
  #isOff: boolean;

  constructor(
    private readonly fd: number,
    native = systemNative(),
  ) {
    this.#native = native;
    this.#isOff = native?.system !== 'linux';
  }

  /** True if `lengthBytes` bytes were read to `into` at `at`. If false, anything may be there, and why is not known. */
  read(into: Buffer, at: number, lengthBytes: number, offsetBytes: number): boolean {
    const native = this.#native;
    if (this.#isOff || native === null) return false;
    const address = this.#addressOf(native, into) + at;
    const words = this.#words;
    words[WORDS.baseLow] = address % 2 ** 32;
    words[WORDS.baseHigh] = Math.floor(address / 2 ** 32);
    words[WORDS.lengthLow] = lengthBytes;
    try {
      const got = native.call('preadv2', this.fd, this.#iovec, 1, offsetBytes, RWF_NOWAIT);
      return got === lengthBytes;
    } catch (error) {
      // A file system that can't; a read error is for the read that waits to tell.
      const code = error instanceof Error && 'code' in error ? String(error.code) : '';
      if (!TRY_LATER.includes(code) && code !== 'EIO') this.#isOff = true;
      return false;
    }
  }

  #addressOf(native: Native, buffer: Buffer): number {
    const memory = buffer.buffer;
    let base = this.#addresses.get(memory);
    if (base === undefined) {
      base = native.addressOf(buffer) - buffer.byteOffset;
      this.#addresses.set(memory, base);
    }
    return base + buffer.byteOffset;
  }
}
