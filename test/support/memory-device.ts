import {
  DeviceError,
  type BlockDevice,
  type BlockIo,
  type Capabilities,
} from '../../src/device/block-device.js';
import { assertStartable } from '../../src/device/check-io.js';
import { checksumRegions } from '../../src/protocol/region-checksums.js';

export interface MemoryDeviceOptions {
  readonly mediaSizeBytes?: number;
  readonly sectorSizeBytes?: number;
  readonly can?: Partial<Capabilities>;
  readonly name?: string;
}

const EVERYTHING: Capabilities = {
  read: true,
  write: true,
  flush: true,
  trim: true,
  writeZeroes: true,
  checksum: true,
};

/** A disk in memory. Requests take effect in order of start, and all that one turn starts are done in one microtask. */
export class MemoryDevice implements BlockDevice {
  readonly name: string;
  readonly mediaSizeBytes: number;
  readonly sectorSizeBytes: number;
  readonly can: Capabilities;
  /** What is on the medium; tests may look and write. */
  readonly data: Buffer;
  #isClosed = false;
  #finished: BlockIo[] = [];

  constructor(options: MemoryDeviceOptions = {}) {
    this.name = options.name ?? 'memory';
    this.mediaSizeBytes = options.mediaSizeBytes ?? 1_048_576;
    this.sectorSizeBytes = options.sectorSizeBytes ?? 512;
    this.can = { ...EVERYTHING, ...options.can };
    this.data = Buffer.alloc(this.mediaSizeBytes);
  }

  start(io: BlockIo): void {
    assertStartable(this, io);
    if (this.#isClosed) {
      queueMicrotask(() => io.done(new DeviceError('DEVICE_CLOSED', 'EBADF', `${this.name} is closed`)));
      return;
    }
    this.#execute(io);
    if (this.#finished.length === 0) queueMicrotask(this.#deliver);
    this.#finished.push(io);
  }

  close(): Promise<void> {
    this.#isClosed = true;
    // What is finished is delivered in microtasks queued before this one.
    return Promise.resolve();
  }

  #execute(io: BlockIo): void {
    const { offsetBytes, lengthBytes, buffer, bufferAt } = io;
    const medium = this.data.subarray(offsetBytes, offsetBytes + lengthBytes);
    if (io.op === 'write-zeroes') medium.fill(0);
    // What a trimmed range reads as is undefined: nobody may rely on zeroes.
    else if (io.op === 'trim') medium.fill(0xdd);
    if (buffer === null) return;
    if (io.op === 'read') medium.copy(buffer, bufferAt);
    else if (io.op === 'write') buffer.copy(medium, 0, bufferAt, bufferAt + lengthBytes);
    else if (io.op === 'checksum') checksumRegions(medium, buffer, bufferAt);
  }

  readonly #deliver = (): void => {
    const finished = this.#finished;
    this.#finished = [];
    for (const io of finished) io.done(null);
  };
}
