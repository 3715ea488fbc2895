import { DeviceError } from './block-device.js';
import { errnoOf, requestError } from './device-errors.js';
import { type FileCalls, nodeCalls } from './platform/file-calls.js';

/**
 * The data path of a session that has a thread to itself: each call returns when all bytes are moved, or throws
 * DeviceError (DEVICE_IO) with the errno. Ranges are checked by the caller; nothing is allocated unless it fails.
 */
export interface SyncDevice {
  /** Reads `lengthBytes` bytes from `offsetBytes` of the medium into `buffer` from `at` on. */
  readSync(buffer: Buffer, at: number, lengthBytes: number, offsetBytes: number): void;
  /** Writes `lengthBytes` bytes of `buffer` from `at` on to `offsetBytes` of the medium. */
  writeSync(buffer: Buffer, at: number, lengthBytes: number, offsetBytes: number): void;
}

/**
 * An open file or disk. The file descriptor stays the caller's: nothing here closes it. A medium that ends before the
 * range does is EIO for a read (someone has cut the file) and ENOSPC for a write.
 */
export class SyncFile implements SyncDevice {
  /** `name` is for error messages: 'file site.img'. */
  constructor(
    readonly fd: number,
    readonly name: string,
    private readonly calls: FileCalls = nodeCalls,
  ) {}

  readSync(buffer: Buffer, at: number, lengthBytes: number, offsetBytes: number): void {
    let movedBytes = 0;
    // One turn, except for a signal, the end of a file or a disk that stops at a bad sector.
    while (movedBytes < lengthBytes) {
      movedBytes += this.#readOnce(
        buffer,
        at + movedBytes,
        lengthBytes - movedBytes,
        offsetBytes + movedBytes,
      );
    }
  }

  writeSync(buffer: Buffer, at: number, lengthBytes: number, offsetBytes: number): void {
    let movedBytes = 0;
    while (movedBytes < lengthBytes) {
      movedBytes += this.#writeOnce(
        buffer,
        at + movedBytes,
        lengthBytes - movedBytes,
        offsetBytes + movedBytes,
      );
    }
  }

  #readOnce(buffer: Buffer, at: number, lengthBytes: number, offsetBytes: number): number {
    try {
      const readBytes = this.calls.readSync(this.fd, buffer, at, lengthBytes, offsetBytes);
      if (readBytes > 0) return readBytes;
      throw requestError(this.name, { op: 'read', offsetBytes, lengthBytes }, 'EIO');
    } catch (cause) {
      // An interrupted write is repeated by the call itself.
      if (errnoOf(cause) === 'EINTR') return 0;
      throw cause instanceof DeviceError
        ? cause
        : requestError(this.name, { op: 'read', offsetBytes, lengthBytes }, errnoOf(cause), cause);
    }
  }

  #writeOnce(buffer: Buffer, at: number, lengthBytes: number, offsetBytes: number): number {
    try {
      const writtenBytes = this.calls.writeSync(this.fd, buffer, at, lengthBytes, offsetBytes);
      if (writtenBytes > 0) return writtenBytes;
      throw requestError(this.name, { op: 'write', offsetBytes, lengthBytes }, 'ENOSPC');
    } catch (cause) {
      throw cause instanceof DeviceError
        ? cause
        : requestError(this.name, { op: 'write', offsetBytes, lengthBytes }, errnoOf(cause), cause);
    }
  }
}
