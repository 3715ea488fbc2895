import { DeviceError, type BlockDevice, type BlockOp } from '../../device/block-device.js';
import { flushWhereAble, request } from '../../device/request.js';
import { KeptWrites } from '../../device/wrappers/kept-writes.js';
import { AREA_BLOCK_BYTES } from '../../protocol/area-block.js';
import { assert } from '../../protocol/errors.js';
import { AREA_IN_FLIGHT_BYTES, AREA_IN_FLIGHT_MAX, AREA_TRANSFER_BYTES } from '../limits.js';
import { runsOf, type BlockRun, type PlacedBlock } from './block-runs.js';

const ZEROES = Buffer.alloc(AREA_TRANSFER_BYTES);

/**
 * The bytes of an area, on the device that holds it. Offsets are those in the area, in bytes, multiples of 4,096.
 * Everything rejects with the device's DeviceError, and not before the last request that it started is done.
 */
export class AreaIo {
  readonly #device: KeptWrites;

  /** `startBytes`: where the area begins on the device, which has sectors of 4,096 bytes at most. */
  constructor(
    device: BlockDevice,
    private readonly startBytes: number,
  ) {
    this.#device = KeptWrites.of(device);
    const { name, sectorSizeBytes } = device;
    assert(sectorSizeBytes <= AREA_BLOCK_BYTES, `${name}: an area on sectors of ${sectorSizeBytes} bytes`);
    assert(startBytes % AREA_BLOCK_BYTES === 0, `${name}: an area that begins inside a block`);
  }

  get name(): string {
    return this.#device.name;
  }

  /** How much of an area there is room for. */
  get roomBytes(): number {
    return Math.max(0, this.#device.mediaSizeBytes - this.startBytes);
  }

  get canWrite(): boolean {
    return this.#device.can.write;
  }

  get canFlush(): boolean {
    return this.#device.can.flush;
  }

  /** Fills `into`. */
  read(at: number, into: Buffer): Promise<void> {
    return this.#perform('read', at, into.length, into);
  }

  /**
   * Blocks that follow each other; null for one that can't be read. Rejects only if none can, or if the device is gone.
   * The blocks are parts of one buffer.
   */
  async readBlocks(at: number, count: number): Promise<(Buffer | null)[]> {
    const bytes = Buffer.alloc(count * AREA_BLOCK_BYTES);
    const blocks = Array.from({ length: count }, (_, index) =>
      bytes.subarray(index * AREA_BLOCK_BYTES, (index + 1) * AREA_BLOCK_BYTES),
    );
    try {
      await this.read(at, bytes);
      return blocks;
    } catch (cause) {
      if (!isUnreadable(cause)) throw cause;
      return await this.#readOneByOne(at, blocks, cause);
    }
  }

  async #readOneByOne(at: number, blocks: readonly Buffer[], cause: unknown): Promise<(Buffer | null)[]> {
    const found: (Buffer | null)[] = [];
    for (const [index, block] of blocks.entries()) {
      try {
        await this.read(at + index * AREA_BLOCK_BYTES, block);
        found.push(block);
      } catch (error) {
        if (!isUnreadable(error)) throw error;
        found.push(null);
      }
    }
    if (found.every((block) => block === null)) throw cause;
    return found;
  }

  /**
   * All of them, several at a time and in no order; each is at another place. Those that follow each other go with one
   * request. After an error any of them may be written.
   */
  async write(blocks: readonly PlacedBlock[]): Promise<void> {
    let writes: Promise<void>[] = [];
    let inFlightBytes = 0;
    const settle = async (): Promise<void> => {
      const ends = await Promise.allSettled(writes);
      for (const end of ends) if (end.status === 'rejected') throw end.reason;
      writes = [];
      inFlightBytes = 0;
    };
    for (const run of runsOf(blocks)) {
      if (writes.length === AREA_IN_FLIGHT_MAX || inFlightBytes + run.lengthBytes > AREA_IN_FLIGHT_BYTES)
        await settle();
      writes.push(this.#writeRun(run));
      inFlightBytes += run.lengthBytes;
    }
    await settle();
  }

  async #writeRun({ at, lengthBytes, blocks }: BlockRun): Promise<void> {
    const [first] = blocks;
    if (blocks.length === 1 && first !== undefined)
      return this.#perform('write', first.at, lengthBytes, first.block);
    const bytes = Buffer.allocUnsafe(lengthBytes);
    for (const one of blocks) one.block.copy(bytes, one.at - at);
    await this.#perform('write', at, lengthBytes, bytes);
  }

  /** Makes the range read as zeros. What a device without write-zeroes has as zeros already is not written. */
  async zero(at: number, lengthBytes: number): Promise<void> {
    if (this.#device.can.writeZeroes) return this.#perform('write-zeroes', at, lengthBytes, null);
    const memory = Buffer.alloc(Math.min(lengthBytes, AREA_TRANSFER_BYTES));
    for (let doneBytes = 0; doneBytes < lengthBytes; doneBytes += AREA_TRANSFER_BYTES) {
      const piece = memory.subarray(0, Math.min(AREA_TRANSFER_BYTES, lengthBytes - doneBytes));
      const zeroes = ZEROES.subarray(0, piece.length);
      if (await this.#isZero(at + doneBytes, piece, zeroes)) continue;
      await this.#perform('write', at + doneBytes, zeroes.length, zeroes);
    }
  }

  async #isZero(at: number, piece: Buffer, zeroes: Buffer): Promise<boolean> {
    try {
      await this.read(at, piece);
      return piece.equals(zeroes);
    } catch (cause) {
      if (!isUnreadable(cause)) throw cause;
      return false; // Writing often heals a sector that can't be read.
    }
  }

  /** On a device that can't flush it does nothing. */
  flush(): Promise<void> {
    return flushWhereAble(this.#device);
  }

  #perform(op: BlockOp, at: number, lengthBytes: number, buffer: Buffer | null): Promise<void> {
    return request(this.#device, op, { offsetBytes: this.startBytes + at, lengthBytes }, buffer);
  }
}

/** A sector that is broken, on a device that is still there. */
const isUnreadable = (cause: unknown): boolean => cause instanceof DeviceError && cause.code === 'DEVICE_IO';
