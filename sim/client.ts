import type { BlockDevice, DeviceError } from '../src/device/block-device.js';
import { isFlushDenial } from '../src/device/request.js';
import type { Budget } from './budget.js';
import { ZEROES, fillSectors, readSector } from './content.js';
import { SECTOR_BYTES } from './disk.js';
import type { Registers, SectorRange, WriteRecord } from './registers.js';
import { expectWithin } from './patience.js';
import type { ClientOp } from './steps.js';
import type { World } from './world.js';

const IN_FLIGHT_MAX = 64;

export interface ClientOptions {
  readonly world: World;
  readonly registers: Registers;
  /** Left out without a mirror. */
  readonly budget?: Budget;
  /** What its first write says is larger than this; 0 if left out. No two clients of a world may say the same. */
  readonly firstNumber?: number;
  /** A request that takes longer hangs, as it is known by now. It was started then, when so many others were under way. */
  readonly hangMs: (startedMs: number, inFlight: number) => number;
}

/** Who uses the mirror: writes what can be recognised, and judges what it reads. */
export class Client {
  #writeNumber: number;
  #inFlight = 0;
  /** Raised when the mirror's process ends: answers of an earlier life are none. */
  #life = 0;
  readonly counts = { reads: 0, writes: 0, flushes: 0, errors: 0 };

  constructor(private readonly options: ClientOptions) {
    this.#writeNumber = options.firstNumber ?? 0;
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  /** The mirror is gone, and nothing under way will be answered. */
  forget(): void {
    this.#life += 1;
    this.#inFlight = 0;
    this.options.registers.abortAll(this.options.world.nextOrder());
  }

  /** Does nothing while there is too much under way. */
  start(mirror: BlockDevice, op: ClientOp, range: SectorRange, isDone: () => void = () => undefined): void {
    if (this.#inFlight >= IN_FLIGHT_MAX) return;
    if (op === 'flush') this.#flush(mirror);
    else if (op === 'read') this.#read(mirror, range, isDone);
    else this.#write(mirror, op, range);
  }

  #flush(mirror: BlockDevice): void {
    const { world, registers, budget } = this.options;
    const startedAt = world.nextOrder();
    this.counts.flushes += 1;
    this.#send(mirror, { op: 'flush', offsetBytes: 0, lengthBytes: 0, buffer: null }, (error) => {
      if (error === null) {
        registers.flushed(startedAt);
        budget?.flushed(startedAt);
      } else if (!isFlushDenial(error)) {
        registers.flushFailed(world.nextOrder());
        budget?.flushFailed();
      }
    });
  }

  #write(mirror: BlockDevice, op: 'write' | 'write-zeroes' | 'trim', range: SectorRange): void {
    const { world, registers } = this.options;
    this.#writeNumber += 1;
    const number = this.#writeNumber;
    const write: WriteRecord = {
      ...range,
      number,
      value: op === 'write' ? number : ZEROES,
      issuedAt: world.nextOrder(),
      endedAt: Infinity,
    };
    const buffer = op === 'write' ? Buffer.alloc(range.sectorCount * SECTOR_BYTES) : null;
    if (buffer !== null) fillSectors(buffer, range.firstSector, number);
    registers.issue(write);
    this.options.budget?.wrote(write);
    this.counts.writes += 1;
    this.#send(mirror, { op, ...bytesOf(range), buffer }, (error) => {
      if (error === null) registers.acknowledge(write, world.nextOrder());
      else {
        registers.abort(write, world.nextOrder());
        // Nobody took it, or the only good copy failed: what that has not flushed it may not have.
        this.options.budget?.flushFailed();
      }
      // Whoever looks at the buffer now looks at somebody else's memory.
      buffer?.fill(0xee);
    });
  }

  #read(mirror: BlockDevice, range: SectorRange, isDone: () => void): void {
    const { world, registers } = this.options;
    const snapshot = registers.startRead(range, world.nextOrder());
    const buffer = Buffer.alloc(range.sectorCount * SECTOR_BYTES, 0xaa);
    this.counts.reads += 1;
    this.#send(mirror, { op: 'read', ...bytesOf(range), buffer }, (error) => {
      for (let at = 0; error === null && at < range.sectorCount; at++) {
        const value = readSector(buffer, at * SECTOR_BYTES, range.firstSector + at);
        const problem =
          typeof value === 'string'
            ? `sector ${range.firstSector + at}: ${value}`
            : registers.endRead(snapshot, at, value);
        if (problem !== null) world.fail(`a read found what it must not: ${problem}`);
      }
      isDone();
    });
  }

  #send(
    mirror: BlockDevice,
    request: { op: ClientOp; offsetBytes: number; lengthBytes: number; buffer: Buffer | null },
    ended: (error: DeviceError | null) => void,
  ): void {
    const { world, hangMs } = this.options;
    const life = this.#life;
    const startedMs = world.nowMs;
    const what = `${request.op} of ${request.lengthBytes / SECTOR_BYTES} sectors from ${request.offsetBytes / SECTOR_BYTES} on`;
    const inFlight = this.#inFlight;
    this.#inFlight += 1;
    world.say(() => `client: ${what} (write ${this.#writeNumber})`);
    const timer = expectWithin(
      world,
      () => hangMs(startedMs, inFlight),
      () => {
        if (life === this.#life) world.fail(`a ${what} hangs since ${(startedMs / 1000).toFixed(3)} s`);
      },
    );
    let isAnswered = false;
    mirror.start({
      ...request,
      bufferAt: 0,
      done: (error) => {
        if (life !== this.#life) return;
        if (isAnswered) world.fail(`a ${what} is answered twice`);
        isAnswered = true;
        timer.cancel();
        this.#inFlight -= 1;
        if (error !== null) this.counts.errors += 1;
        world.say(() => `client: ${what} ends${error === null ? '' : `: ${error.message}`}`);
        ended(error);
      },
    });
  }
}

const bytesOf = ({
  firstSector,
  sectorCount,
}: SectorRange): { offsetBytes: number; lengthBytes: number } => ({
  offsetBytes: firstSector * SECTOR_BYTES,
  lengthBytes: sectorCount * SECTOR_BYTES,
});
