import type { FlushNote } from '../src/device/flush-note.js';
import type { BlockDevice, BlockIo, Capabilities } from '../src/device/block-device.js';
import { DeviceError } from '../src/device/block-device.js';
import { FlushTurns } from '../src/device/flush-turns.js';
import { FlushDebt } from '../src/server/flush-debt.js';
import { type DiskConduct, DiskHandle } from './disk-handle.js';
import type { Host } from './host.js';
import type { SimProcess } from './process.js';

/** What the sessions of a server, one after the other, leave to each other in its memory. */
export interface LeftToNext {
  owesFlush: boolean;
}

/** When it is paid, a flush that was good has failed for who is told. */
class HeardDebt extends FlushDebt {
  constructor(private readonly conduct: DiskConduct) {
    super();
  }

  override pay(): DeviceError | null {
    const debt = super.pay();
    if (debt !== null) this.conduct.flushFailed();
    return debt;
  }
}

/**
 * What a session on a file makes of a disk: flushes one at a time, of which the first good one fails if a flush has failed
 * before and nobody was told. At its end it flushes what it has written, and its note goes if nothing is left to tell.
 */
export class ServedDisk implements BlockDevice {
  readonly name: string;
  readonly mediaSizeBytes: number;
  readonly sectorSizeBytes: number;
  readonly can: Capabilities;
  /** Its client has ended it, with nothing under way. */
  isDetached = false;
  readonly #debt: FlushDebt;
  #isDirty = false;
  #hasFlushFailed = false;
  #closing: Promise<void> | null = null;
  readonly #flushes = new FlushTurns<BlockIo>({
    begin: () => {
      this.#isDirty = false;
      const done = (failure: DeviceError | null): void => {
        const error = failure ?? this.#debt.pay();
        this.#isDirty ||= error !== null;
        this.#hasFlushFailed ||= error !== null;
        this.#flushes.ended(error);
      };
      this.handle.start({ op: 'flush', offsetBytes: 0, lengthBytes: 0, buffer: null, bufferAt: 0, done });
    },
    answer: (flushes, error) => {
      for (const io of flushes) io.done(error);
    },
  });

  constructor(
    private readonly handle: DiskHandle,
    private readonly note: FlushNote,
    private readonly left: LeftToNext,
    conduct: DiskConduct,
  ) {
    this.#debt = new HeardDebt(conduct);
    this.name = handle.name;
    this.mediaSizeBytes = handle.mediaSizeBytes;
    this.sectorSizeBytes = handle.sectorSizeBytes;
    this.can = handle.can;
    if (left.owesFlush || note.isInDoubt) this.#debt.owe(untold(this.name));
    left.owesFlush = false;
  }

  start(io: BlockIo): void {
    if (io.op === 'flush') this.#flushes.add(io);
    else {
      this.#isDirty ||= io.op !== 'read' && io.op !== 'checksum';
      this.handle.start(io);
    }
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.handle.whenIdle();
    const isFlushed = !this.#isDirty || !this.can.flush || (await this.#flush());
    const isUntold = this.#hasFlushFailed && !this.isDetached;
    if (!isFlushed || isUntold || this.#debt.isOwed) this.left.owesFlush = true;
    else this.note.settle();
    await this.handle.close();
  }

  /** Whether it was good; who is killed never hears of it. */
  async #flush(): Promise<boolean> {
    let isGood = false;
    const done = (error: DeviceError | null): void => void (isGood = error === null);
    this.handle.start({ op: 'flush', offsetBytes: 0, lengthBytes: 0, buffer: null, bufferAt: 0, done });
    await this.handle.whenIdle();
    return isGood;
  }
}

/**
 * The same for a device of a server: what others have left, its process before or a mirror, the first good flush of a
 * session tells; what its sessions leave to each other is in the server's memory.
 */
export class ServedDevice implements BlockDevice {
  readonly name: string;
  readonly mediaSizeBytes: number;
  readonly sectorSizeBytes: number;
  readonly can: Capabilities;
  readonly #handle: DiskHandle;
  readonly #debt: FlushDebt;
  #note: FlushNote;
  #hasFlushed = false;

  constructor(
    private readonly host: Host,
    private readonly process: SimProcess,
  ) {
    this.#debt = new HeardDebt(host.drive.conduct);
    this.#note = host.openNote(process);
    const note = { during: (flush: () => Promise<void>) => this.#note.during(flush) };
    const handle = (this.#handle = new DiskHandle(host.world, process, host.served, note));
    this.name = handle.name;
    this.mediaSizeBytes = handle.mediaSizeBytes;
    this.sectorSizeBytes = handle.sectorSizeBytes;
    this.can = handle.can;
    if (this.#note.isInDoubt) this.#debt.owe(untold(this.name));
  }

  start(io: BlockIo): void {
    if (io.op !== 'flush') {
      this.#handle.start(io);
      return;
    }
    const done = (failure: DeviceError | null): void => {
      const error = failure ?? this.#debt.pay();
      this.#hasFlushed = error === null;
      io.done(error);
    };
    const { op, offsetBytes, lengthBytes, buffer, bufferAt } = io;
    this.#handle.start({ op, offsetBytes, lengthBytes, buffer, bufferAt, done });
  }

  sessionBegins(): void {
    this.#hasFlushed = false;
    const wasInDoubt = this.#note.isInDoubt;
    this.#note = this.host.openNote(this.process);
    if (this.#note.isInDoubt && !wasInDoubt) this.#debt.owe(untold(this.name));
  }

  /** In order. What was owed its client knows if there was a good flush since. */
  sessionEnds(): void {
    if (this.#hasFlushed) this.#note.settle();
  }

  close(): Promise<void> {
    return this.#handle.close();
  }
}

const untold = (name: string): DeviceError =>
  new DeviceError('DEVICE_IO', 'EIO', `${name}: a flush failed before, and no client was told`);
