import { assert } from '../protocol/errors.js';
import { DeviceError, type BlockDevice, type BlockIo, type Capabilities } from './block-device.js';
import { assertStartable } from './check-io.js';
import { openFile, type FileDevice, type OpenFileOptions } from './file-device.js';
import { SyncFile } from './sync-file.js';

/** Opens a regular file or a disk as `openFile` does, with its errors. */
export async function openSyncFile(path: string, options: OpenFileOptions): Promise<SyncFileDevice> {
  return new SyncFileDevice(await openFile(path, options));
}

/**
 * A local file or disk that is read and written at once, inside start(). For media that are known to be fast: what it
 * saves is the way to the thread pool and back, which costs small requests more than the page cache does; what it costs
 * is that everything in this thread waits while the disk does. All that one turn starts is done in one microtask.
 * Flush, trim, zeroes and checksums are the thread pool's, as in FileDevice.
 *
 * Invariant: `#errors` is as long as `#finished`; a microtask is queued exactly while they are not empty.
 */
export class SyncFileDevice implements BlockDevice {
  readonly name: string;
  readonly mediaSizeBytes: number;
  readonly sectorSizeBytes: number;
  readonly can: Capabilities;
  readonly #data: SyncFile;
  #isClosed = false;
  #finished: BlockIo[] = [];
  #errors: (DeviceError | null)[] = [];

  /** Takes over `file`, whose holes and media may still be looked at. Made by openSyncFile. */
  constructor(readonly file: FileDevice) {
    this.name = file.name;
    this.mediaSizeBytes = file.mediaSizeBytes;
    this.sectorSizeBytes = file.sectorSizeBytes;
    this.can = file.can;
    this.#data = new SyncFile(file.fd, file.name);
  }

  start(io: BlockIo): void {
    const isTransfer = io.op === 'read' || io.op === 'write';
    if (!isTransfer || this.#isClosed) {
      this.file.start(io);
      return;
    }
    assertStartable(this, io);
    const error = this.#transfer(io);
    if (this.#finished.length === 0) queueMicrotask(this.#deliver);
    this.#finished.push(io);
    this.#errors.push(error);
  }

  close(): Promise<void> {
    this.#isClosed = true;
    // What is finished is delivered in a microtask that was queued before this.
    return this.file.close();
  }

  #transfer(io: BlockIo): DeviceError | null {
    const { buffer } = io;
    assert(buffer !== null, `${this.name}: ${io.op} without a buffer`);
    try {
      if (io.op === 'read') this.#data.readSync(buffer, io.bufferAt, io.lengthBytes, io.offsetBytes);
      else this.#data.writeSync(buffer, io.bufferAt, io.lengthBytes, io.offsetBytes);
      return null;
    } catch (error) {
      if (error instanceof DeviceError) return error;
      throw error;
    }
  }

  readonly #deliver = (): void => {
    const finished = this.#finished;
    const errors = this.#errors;
    this.#finished = [];
    this.#errors = [];
    for (let index = 0; index < finished.length; index++) finished[index]?.done(errors[index] ?? null);
  };
}
