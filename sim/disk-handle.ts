import {
  DeviceError,
  type BlockDevice,
  type BlockIo,
  type Capabilities,
  type DeviceErrorCode,
} from '../src/device/block-device.js';
import { assertStartable } from '../src/device/check-io.js';
import type { FlushNote } from '../src/device/flush-note.js';
import type { ByteRange } from '../src/protocol/geometry.js';
import { checksumRegions } from '../src/protocol/region-checksums.js';
import type { Chance } from './chance.js';
import { SECTOR_BYTES, type SimDisk, type WriteMark } from './disk.js';
import { misdirect } from './misdirect.js';
import type { SimProcess } from './process.js';
import type { World } from './world.js';

/** How long answers of a disk take on average. */
export const NORMAL_LATENCY_MS = 0.3;

interface Span {
  readonly fromMs: number;
  readonly untilMs: number;
}

/** How a disk behaves at the moment; faults are set and reset from outside. */
export class DiskConduct {
  /** Answers take this long on average. */
  latencyMs = NORMAL_LATENCY_MS;
  /** Until then it answers nothing. */
  hungUntilMs = 0;
  /** When it was slow, and how slow; and when it hung, if nothing has healed it. */
  readonly #slow: (Span & { readonly latencyMs: number })[] = [];
  readonly #hung: Span[] = [];
  /** How many of the next requests of each kind fail. */
  readonly failing = { read: 0, write: 0, flush: 0 };
  /** The next read of the private area gets a block from another place: this one of those that may be damaged. */
  misdirecting: number | null = null;
  /** How many reads did. */
  misdirected = 0;
  /** Called before a flush takes effect: a moment at which a loss of power does the most harm. */
  beforeFlush: () => void = () => undefined;
  /** Called once, when the next one has failed, before anybody is told. */
  doom: (() => void) | null = null;
  /** Called when one has failed, also because of an earlier one of which nobody was told. */
  flushFailed: () => void = () => undefined;
  /** Called before a write takes effect, in whole or in part; null for zeros. It was begun then, in the order of the world. */
  beforeWrite: (range: ByteRange, bytes: Buffer | null, startedAt: number) => void = () => undefined;

  hang(span: Span): void {
    this.hungUntilMs = span.untilMs;
    this.#hung.push(span);
  }

  /** Until somebody sets the latency anew. */
  slowDown(span: Span, latencyMs: number): void {
    this.latencyMs = latencyMs;
    this.#slow.push({ ...span, latencyMs });
  }

  /** For how long of a time it hung. */
  hungMs({ fromMs, untilMs }: Span): number {
    const parts = this.#hung.map((one) => Math.min(one.untilMs, untilMs) - Math.max(one.fromMs, fromMs));
    return parts.reduce((sum, partMs) => sum + Math.max(0, partMs), 0);
  }

  /** The most that answers took on average, since then. */
  slowestMs(fromMs: number): number {
    const slow = this.#slow.filter(({ untilMs }) => untilMs >= fromMs).map(({ latencyMs }) => latencyMs);
    return Math.max(NORMAL_LATENCY_MS, ...slow);
  }

  heal(): void {
    this.hungUntilMs = 0;
    this.failing.read = 0;
    this.failing.write = 0;
    this.failing.flush = 0;
    this.misdirecting = null;
    this.doom = null;
  }
}

export interface Drive {
  readonly disk: SimDisk;
  readonly conduct: DiskConduct;
  readonly can: Capabilities;
  readonly chance: Chance;
  /** What the mirror offers; behind that are its own things. */
  readonly mediaSizeBytes: number;
}

interface Pending {
  readonly io: BlockIo;
  readonly startedAt: number;
  readonly mark: WriteMark;
  /** What an abandoned write would still write; null while its buffer is the caller's. */
  copy: Buffer | null;
  isAnswered: boolean;
  /** The medium has it. */
  isDone: boolean;
  /** Of a flush that is noted. */
  noted: Noted | null;
}

interface Noted {
  /** The kernel has answered. */
  readonly settle: (error: DeviceError | null) => void;
  /** And that is in the note. Never rejects. */
  readonly whenNoted: Promise<void>;
}

function noted(note: Pick<FlushNote, 'during'>): Noted {
  let settle: Noted['settle'] = () => undefined;
  const flushed = new Promise<void>((resolve, reject) => {
    settle = (error) => (error === null ? resolve() : reject(error));
  });
  return { settle, whenNoted: note.during(() => flushed).catch(() => undefined) };
}

/** A disk as one process has it open. */
export class DiskHandle implements BlockDevice {
  readonly name: string;
  readonly mediaSizeBytes: number;
  readonly sectorSizeBytes = SECTOR_BYTES;
  readonly can: Capabilities;
  readonly #pending = new Set<Pending>();
  #isClosing = false;
  #isAbandoned = false;
  #whenIdle: (() => void)[] = [];
  readonly #kill: { cancel(): void };

  constructor(
    private readonly world: World,
    private readonly process: SimProcess,
    private readonly drive: Drive,
    /** Where its flushes are noted; null for one that is not known to anybody else. */
    private readonly note: Pick<FlushNote, 'during'> | null = null,
  ) {
    this.name = `${process.name}:${drive.disk.name}`;
    this.mediaSizeBytes = drive.disk.sizeBytes;
    this.can = drive.can;
    this.#kill = process.onKill(() => this.#killed());
  }

  /** Whether writes of it may still reach the medium. */
  get isIdle(): boolean {
    return this.#pending.size === 0;
  }

  start(io: BlockIo): void {
    assertStartable(this, io);
    if (this.#isClosing || this.#isAbandoned) {
      queueMicrotask(() => this.#end(io, 'DEVICE_CLOSED'));
      return;
    }
    // What is left of a killed process asks in vain.
    if (!this.process.isAlive) return;
    const { world, drive } = this;
    const pending: Pending = {
      io,
      startedAt: world.nextOrder(),
      mark: { answeredAt: Infinity },
      copy: null,
      isAnswered: false,
      isDone: false,
      noted: io.op === 'flush' && this.note !== null ? noted(this.note) : null,
    };
    this.#pending.add(pending);
    const effectMs = drive.chance.delayMs(drive.conduct.latencyMs);
    world.after(effectMs, () => this.#due(pending));
  }

  /** Fails all that is in flight; what is under way may still land, until close() has resolved. */
  abandon(): void {
    if (this.#isAbandoned) return;
    this.#isAbandoned = true;
    const given = [...this.#pending].filter(({ isAnswered }) => !isAnswered);
    for (const pending of given) {
      const { op, buffer, bufferAt, lengthBytes } = pending.io;
      if (op === 'write' && buffer !== null)
        pending.copy = Buffer.from(buffer.subarray(bufferAt, bufferAt + lengthBytes));
      pending.isAnswered = true;
    }
    queueMicrotask(() => {
      for (const { io } of given) this.#end(io, 'DEVICE_TIMEOUT');
    });
  }

  /** Resolves when nothing of it is under way. */
  async whenIdle(): Promise<void> {
    if (this.#pending.size > 0) await new Promise<void>((resolve) => this.#whenIdle.push(resolve));
  }

  async close(): Promise<void> {
    this.#isClosing = true;
    await this.whenIdle();
    this.#kill.cancel();
  }

  #due(pending: Pending): void {
    if (!this.#pending.has(pending)) return;
    const { world, drive } = this;
    const waitMs = drive.conduct.hungUntilMs - world.nowMs;
    if (waitMs > 0) {
      world.after(waitMs + drive.chance.delayMs(drive.conduct.latencyMs), () => this.#due(pending));
      return;
    }
    pending.isDone = true;
    const error = this.#takeEffect(pending);
    world.after(drive.chance.delayMs(drive.conduct.latencyMs / 3), () => this.#answer(pending, error));
  }

  #answer(pending: Pending, error: DeviceErrorCode | null): void {
    if (!this.#pending.has(pending)) return;
    // A write that failed in part is as much in the cache as any other, and a flush writes it.
    pending.mark.answeredAt = this.world.nextOrder();
    if (pending.noted === null) this.#tell(pending, error);
    else {
      pending.noted.settle(error === null ? null : this.#errorOf(pending.io, error));
      pending.noted.whenNoted.then(
        () => this.#tell(pending, error),
        () => undefined, // it never rejects
      );
    }
  }

  #tell(pending: Pending, error: DeviceErrorCode | null): void {
    this.#pending.delete(pending);
    if (!pending.isAnswered && this.process.isAlive) {
      pending.isAnswered = true;
      this.#end(pending.io, error);
    }
    if (this.#pending.size === 0) for (const resolve of this.#whenIdle.splice(0)) resolve();
  }

  /** What it was asked for happens on the medium, or a part of it. */
  #takeEffect(pending: Pending): DeviceErrorCode | null {
    const { io, startedAt } = pending;
    const { disk, conduct } = this.drive;
    // What was given up reads no more, and of its writes only those that are under way happen.
    if (this.#isAbandoned && (io.op === 'read' || io.op === 'checksum')) return null;
    if (io.op === 'read' || io.op === 'checksum') return this.#read(io);
    if (io.op === 'flush') {
      conduct.beforeFlush();
      if (conduct.failing.flush > 0) {
        this.#failFlush();
        const { doom } = conduct;
        conduct.doom = null;
        if (doom !== null) this.world.after(0, doom);
        return 'DEVICE_IO';
      }
      disk.flush(startedAt);
      return null;
    }
    if (conduct.failing.write > 0) {
      conduct.failing.write -= 1;
      this.#writePart(pending);
      return 'DEVICE_IO';
    }
    const bytes = bytesOf(pending);
    conduct.beforeWrite(io, bytes, startedAt);
    disk.write(io, bytes, pending.mark);
    return null;
  }

  #read(io: BlockIo): DeviceErrorCode | null {
    const { disk, conduct } = this.drive;
    if (conduct.failing.read > 0) {
      conduct.failing.read -= 1;
      return 'DEVICE_IO';
    }
    if (disk.hasBadSector(io.offsetBytes, io.lengthBytes)) return 'DEVICE_IO';
    const { buffer, bufferAt, lengthBytes } = io;
    if (buffer === null) return null;
    if (io.op === 'read') {
      const bytes = buffer.subarray(bufferAt, bufferAt + lengthBytes);
      disk.read(io.offsetBytes, bytes);
      this.#misdirect(io, bytes);
      return null;
    }
    const bytes = Buffer.alloc(lengthBytes);
    disk.read(io.offsetBytes, bytes);
    checksumRegions(bytes, buffer, bufferAt);
    return null;
  }

  #misdirect(range: ByteRange, bytes: Buffer): void {
    const { disk, conduct, mediaSizeBytes } = this.drive;
    const which = conduct.misdirecting;
    if (which === null || !misdirect(disk, mediaSizeBytes, { range, bytes, which })) return;
    conduct.misdirecting = null;
    conduct.misdirected += 1;
    this.world.say(() => `${this.name}: a read at ${range.offsetBytes} is misdirected`);
  }

  #writePart(pending: Pending): void {
    const { disk, chance, conduct } = this.drive;
    const keptPart = chance.pick([0, 0.5, 1]);
    const bytes = bytesOf(pending);
    conduct.beforeWrite(pending.io, bytes, pending.startedAt);
    disk.write(pending.io, bytes, pending.mark, () => chance.happens(keptPart));
  }

  /** The process is gone; what the kernel was doing for it is done, or not, or in part. */
  #killed(): void {
    for (const pending of this.#pending) {
      const { op } = pending.io;
      const isWrite = op !== 'read' && op !== 'flush' && op !== 'checksum';
      if (isWrite && !pending.isDone) this.#writePart(pending);
      if (op === 'flush' && !pending.isDone && this.drive.conduct.failing.flush > 0) this.#failFlush();
      // Whatever of it is in the cache the next flush writes.
      pending.mark.answeredAt = this.world.nextOrder();
    }
    this.#pending.clear();
    for (const resolve of this.#whenIdle.splice(0)) resolve();
  }

  #failFlush(): void {
    const { disk, conduct } = this.drive;
    conduct.failing.flush -= 1;
    disk.failFlush();
    conduct.flushFailed();
  }

  #end(io: BlockIo, code: DeviceErrorCode | null): void {
    io.done(code === null ? null : this.#errorOf(io, code));
  }

  #errorOf({ op }: BlockIo, code: DeviceErrorCode): DeviceError {
    return new DeviceError(
      code,
      code === 'DEVICE_TIMEOUT' ? 'ETIMEDOUT' : 'EIO',
      `${this.name}: ${op}: ${code}`,
    );
  }
}

/** Null for zeros. The buffer is looked at when the write happens, as late as the device may. */
function bytesOf({ io, copy }: Pending): Buffer | null {
  if (io.op !== 'write' || io.buffer === null) return null;
  return copy ?? io.buffer.subarray(io.bufferAt, io.bufferAt + io.lengthBytes);
}
