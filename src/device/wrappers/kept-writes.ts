import type { BlockDevice, BlockIo, Capabilities, DeviceError } from '../block-device.js';
import { FlushTurns } from '../flush-turns.js';
import { KEPT_BYTES_MAX } from '../limits.js';
import { flush, isFlushDenial, request } from '../request.js';
import { PassedOnIo, withStart } from './passed-on.js';

interface Kept {
  readonly offsetBytes: number;
  readonly bytes: Buffer;
  isAnswered: boolean;
}

const placeOf = ({ offsetBytes, bytes }: Kept): string => `${offsetBytes}+${bytes.length}`;

/**
 * Passes everything on, and keeps what it has written until a flush has covered it. Systems tell of a failed flush once
 * and then forget what they have not written, so after one, whoever's it was, all that is kept is written again before
 * the next flush: one that is good covers everything that was written before it.
 *
 * For labels and private areas. If more than `keptBytesMax` would be kept a flush of its own comes first, and a write fails
 * with that.
 */
export class KeptWrites implements BlockDevice {
  readonly name: string;
  readonly mediaSizeBytes: number;
  readonly sectorSizeBytes: number;
  /** By place; in the order of writing, since they may overlap in part. */
  readonly #kept = new Map<string, Kept>();
  #keptBytes = 0;
  /** Flushes that have failed, and how many of them had when the last good one began. */
  #failures = 0;
  #coveredFailures = 0;
  /** Changes wait while what is kept is written again, since they are newer, and while room is made for them. */
  #holds = 0;
  #held: BlockIo[] = [];
  readonly #flushes = new FlushTurns<BlockIo>({
    begin: () => this.#beginFlush(),
    answer: (flushes, error) => {
      for (const io of flushes) io.done(error);
    },
  });

  private constructor(
    private readonly parent: BlockDevice,
    private readonly keptBytesMax: number,
  ) {
    this.name = parent.name;
    this.mediaSizeBytes = parent.mediaSizeBytes;
    this.sectorSizeBytes = parent.sectorSizeBytes;
  }

  static of(device: BlockDevice, keptBytesMax = KEPT_BYTES_MAX): KeptWrites {
    return device instanceof KeptWrites ? device : new KeptWrites(device, keptBytesMax);
  }

  get can(): Capabilities {
    return this.parent.can;
  }

  start(io: BlockIo): void {
    if (io.op === 'read' || io.op === 'checksum') this.parent.start(io);
    else if (io.op === 'flush') this.#flushes.add(io);
    else if (this.#holds > 0) this.#held.push(io);
    else if (this.#keptBytes > 0 && this.#keptBytes + io.lengthBytes > this.keptBytesMax) this.#makeRoom(io);
    else this.#change(io);
  }

  close(): Promise<void> {
    return this.parent.close();
  }

  /** A flush of the same medium has failed that this one was not asked for. */
  readonly flushFailed = (): void => {
    this.#failures += 1;
  };

  #change(io: BlockIo): void {
    const { op, offsetBytes, lengthBytes, buffer, bufferAt } = io;
    if (op !== 'write' || buffer === null || !this.can.flush) {
      const isInside = ({ offsetBytes: at }: Kept): boolean =>
        at >= offsetBytes && at < offsetBytes + lengthBytes;
      this.#drop([...this.#kept.values()].filter(isInside));
      this.parent.start(io);
      return;
    }
    const kept: Kept = {
      offsetBytes,
      bytes: Buffer.from(buffer.subarray(bufferAt, bufferAt + lengthBytes)),
      isAnswered: false,
    };
    const before = this.#kept.get(placeOf(kept));
    if (before !== undefined) this.#drop([before]);
    this.#kept.set(placeOf(kept), kept);
    this.#keptBytes += lengthBytes;
    const ended = (error: DeviceError | null): void => {
      kept.isAnswered = true;
      if (error !== null) this.#drop([kept]);
    };
    this.parent.start(new WatchedIo(io, ended));
  }

  #makeRoom(io: BlockIo): void {
    this.#hold();
    this.#held.push(io);
    const done = (error: DeviceError | null): void => {
      if (error !== null) for (const held of this.#held.splice(0)) held.done(error);
      this.#release();
    };
    this.#flushes.add({ op: 'flush', offsetBytes: 0, lengthBytes: 0, buffer: null, bufferAt: 0, done });
  }

  #hold(): void {
    this.#holds += 1;
  }

  #release(): void {
    this.#holds -= 1;
    if (this.#holds === 0) for (const io of this.#held.splice(0)) this.#change(io);
  }

  #beginFlush(): void {
    this.#flush().then(
      () => this.#flushes.ended(null),
      (error: unknown) => this.#flushes.ended(error as DeviceError),
    );
  }

  async #flush(): Promise<void> {
    for (;;) {
      const failures = this.#failures;
      if (failures > this.#coveredFailures) await this.#writeAgain();
      const covered = [...this.#kept.values()].filter(({ isAnswered }) => isAnswered);
      await flush(this.parent).catch((error: unknown) => {
        // Of one that can't flush nothing is forgotten.
        if (isFlushDenial(error)) this.#drop(covered);
        else this.#failures += 1;
        throw error;
      });
      // One that failed meanwhile may have left nothing for this one to write.
      if (failures !== this.#failures) continue;
      this.#coveredFailures = failures;
      this.#drop(covered);
      return;
    }
  }

  async #writeAgain(): Promise<void> {
    this.#hold();
    try {
      for (const { offsetBytes, bytes } of [...this.#kept.values()])
        await request(this.parent, 'write', { offsetBytes, lengthBytes: bytes.length }, bytes);
    } finally {
      this.#release();
    }
  }

  #drop(some: readonly Kept[]): void {
    for (const kept of some) {
      if (this.#kept.get(placeOf(kept)) !== kept) continue;
      this.#kept.delete(placeOf(kept));
      this.#keptBytes -= kept.bytes.length;
    }
  }
}

/** `parent`, with `failed` called when a flush of it fails. */
export function watchFlushes(parent: BlockDevice, failed: () => void): BlockDevice {
  const ended = (error: DeviceError | null): void => {
    if (error !== null && !isFlushDenial(error)) failed();
  };
  return withStart(parent, (io) => parent.start(io.op === 'flush' ? new WatchedIo(io, ended) : io));
}

class WatchedIo extends PassedOnIo {
  constructor(
    io: BlockIo,
    private readonly ended: (error: DeviceError | null) => void,
  ) {
    super(io);
  }

  done(error: DeviceError | null): void {
    this.ended(error);
    this.io.done(error);
  }
}
