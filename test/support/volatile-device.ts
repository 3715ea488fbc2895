import {
  DeviceError,
  type BlockDevice,
  type BlockIo,
  type Capabilities,
  type DeviceErrorCode,
} from '../../src/device/block-device.js';
import { assertStartable } from '../../src/device/check-io.js';
import type { SeededRandom } from './seeded-random.js';

const SECTOR_BYTES = 512;

export interface VolatileDeviceOptions {
  /** What is on the medium at first; taken over. */
  readonly medium: Buffer;
  readonly can?: Partial<Capabilities>;
  /** Flushes succeed and do nothing, as on a disk that lies. */
  readonly flushIsALie?: boolean;
}

interface Version {
  readonly data: Buffer;
  /** A flush failed since it was written. */
  isForgotten: boolean;
}

const EVERYTHING: Capabilities = {
  read: true,
  write: true,
  flush: true,
  trim: false,
  writeZeroes: true,
  checksum: false,
};

/**
 * A disk with a volatile cache: what was written since the last flush may or may not be there after a crash, sector by
 * sector, and of a sector written more than once any version. It can lose power after a number of requests; from then
 * on all fail.
 */
export class VolatileDevice implements BlockDevice {
  readonly name = 'volatile';
  mediaSizeBytes: number;
  readonly sectorSizeBytes = SECTOR_BYTES;
  readonly can: Capabilities;
  /** Requests until power is lost; the last of them is not answered well, though it may have taken effect. */
  requestsLeft = Infinity;
  /** Whether this request, which is a write or a flush, fails with EIO; of a write any part takes effect. */
  failing: (io: BlockIo) => boolean = () => false;
  requestCount = 0;
  #durable: Buffer;
  /** What is read. */
  #cached: Buffer;
  /** By sector: its versions since the last flush. */
  readonly #unflushed = new Map<number, Version[]>();
  readonly #flushIsALie: boolean;

  constructor(options: VolatileDeviceOptions) {
    this.#durable = options.medium;
    this.#cached = Buffer.from(options.medium);
    this.mediaSizeBytes = options.medium.length;
    this.can = { ...EVERYTHING, ...options.can };
    this.#flushIsALie = options.flushIsALie ?? false;
  }

  /** A method, because it may be another a moment later. */
  isDead(): boolean {
    return this.requestsLeft <= 0;
  }

  start(io: BlockIo): void {
    assertStartable(this, io);
    this.requestCount += 1;
    if (this.isDead()) {
      this.#answer(io, 'DEVICE_LOST');
      return;
    }
    this.requestsLeft -= 1;
    if (io.op === 'flush') {
      const isDone = !this.isDead() && !this.failing(io);
      if (isDone) this.#flush();
      else this.#forget();
      this.#answer(io, isDone ? null : this.isDead() ? 'DEVICE_LOST' : 'DEVICE_IO');
      return;
    }
    if (io.op === 'read') {
      if (io.buffer !== null) this.#cached.copy(io.buffer, io.bufferAt, io.offsetBytes, endOf(io));
      this.#answer(io, this.isDead() ? 'DEVICE_LOST' : null);
      return;
    }
    const hasFailed = this.failing(io);
    this.#write(io, hasFailed);
    this.#answer(io, this.isDead() ? 'DEVICE_LOST' : hasFailed ? 'DEVICE_IO' : null);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  /** In use: who has it open goes on with the size that it had. Returns the medium. */
  grow(added: Buffer): Buffer {
    this.#durable = Buffer.concat([this.#durable, added]);
    this.#cached = Buffer.concat([this.#cached, added]);
    this.mediaSizeBytes = this.#durable.length;
    return this.#durable;
  }

  /** What is on the medium after a loss of power. */
  crash(random: SeededRandom): Buffer {
    const medium = Buffer.from(this.#durable);
    // Nothing, everything and everything in between; torn blocks are likely only in between.
    const kept = random.pick([0, 0.1, 0.5, 0.9, 1]);
    for (const [sector, versions] of this.#unflushed) {
      const survivor = random.chance(kept)
        ? random.chance(0.7)
          ? versions.at(-1)
          : random.pick(versions)
        : undefined;
      survivor?.data.copy(medium, sector * SECTOR_BYTES);
    }
    return medium;
  }

  #write(io: BlockIo, onlyAPart: boolean): void {
    const data = Buffer.alloc(io.lengthBytes);
    if (io.op === 'write') io.buffer?.copy(data, 0, io.bufferAt, io.bufferAt + io.lengthBytes);
    for (let at = 0; at < data.length; at += SECTOR_BYTES) {
      const sector = (io.offsetBytes + at) / SECTOR_BYTES;
      if (onlyAPart && (sector * 7 + this.requestCount) % 3 === 0) continue;
      const version = { data: data.subarray(at, at + SECTOR_BYTES), isForgotten: false };
      version.data.copy(this.#cached, sector * SECTOR_BYTES);
      const versions = this.#unflushed.get(sector);
      if (versions === undefined) this.#unflushed.set(sector, [version]);
      else versions.push(version);
    }
  }

  #flush(): void {
    if (this.#flushIsALie) return;
    for (const [sector, versions] of this.#unflushed) {
      const newest = versions.at(-1);
      if (newest === undefined || newest.isForgotten) continue;
      newest.data.copy(this.#durable, sector * SECTOR_BYTES);
      this.#unflushed.delete(sector);
    }
  }

  /** As kernels do after a failed flush: what was dirty counts as clean, and no later flush will write it. */
  #forget(): void {
    for (const versions of this.#unflushed.values())
      for (const version of versions) version.isForgotten = true;
  }

  #answer(io: BlockIo, code: DeviceErrorCode | null): void {
    const error = code === null ? null : new DeviceError(code, 'EIO', `volatile: ${io.op}: ${code}`);
    queueMicrotask(() => io.done(error));
  }
}

const endOf = (io: BlockIo): number => io.offsetBytes + io.lengthBytes;
