import type { BlockDevice, BlockIo, BlockOp, DeviceError } from '../../device/block-device.js';
import type { Clock } from '../../device/clock.js';
import type { RandomSource } from '../../device/random.js';
import { BlockPicker } from './picker.js';
import { Histogram } from './histogram.js';
import { Pattern } from './pattern.js';

export type LoadMode = 'read' | 'write' | 'mix';

export interface LoadOptions {
  readonly device: BlockDevice;
  readonly mode: LoadMode;
  /** A multiple of the sector size, 512 at least. */
  readonly blockBytes: number;
  /** Requests in flight. */
  readonly depth: number;
  readonly durationMs: number;
  readonly isSequential: boolean;
  /** Blocks 0 to blockCount - 1 are used. */
  readonly blockCount: number;
  /** Check every read of a block that this run has written, and read all of those at the end. */
  readonly verifies: boolean;
  /** A flush after so many writes; 0 for none. */
  readonly flushEvery: number;
  readonly clock: Clock;
  readonly random: RandomSource;
}

export interface LoadTotals {
  reads: number;
  writes: number;
  flushes: number;
  errors: number;
  firstError: DeviceError | null;
  /** Blocks whose contents were checked, in the run and at its end. */
  checkedBlocks: number;
  mismatches: number;
  /** The first few, for a person. */
  readonly mismatchDetails: string[];
  /** From the first start to the last answer, without the reading at the end. */
  elapsedMs: number;
}

const DETAILS_MAX = 10;

/** Blocks whose contents nobody can know: not written by this run, or written with an error. */
const UNKNOWN = 0;

/**
 * Keeps `depth` requests in flight for a time. Requests and buffers are made once; an operation costs two clock reads,
 * a number from the generator and a bucket of the histogram.
 */
export class Load {
  readonly totals: LoadTotals = {
    reads: 0,
    writes: 0,
    flushes: 0,
    errors: 0,
    firstError: null,
    checkedBlocks: 0,
    mismatches: 0,
    mismatchDetails: [],
    elapsedMs: 0,
  };
  /** Of reads and writes; flushes have their own. */
  readonly latency = new Histogram();
  readonly flushLatency = new Histogram();
  readonly #picker: BlockPicker;
  readonly #pattern: Pattern | null;
  /** Version of each block that was written and answered; empty without verify. */
  readonly #versions: Uint32Array;
  #phase: 'load' | 'check' = 'load';
  #checkIndex = 0;
  #startMs = 0;
  #endMs = 0;
  #busy = 0;
  #writesSinceFlush = 0;
  #isStopped = false;
  #version = UNKNOWN;
  #resolve: () => void = () => undefined;

  constructor(private readonly options: LoadOptions) {
    const { blockCount, verifies, isSequential, random, blockBytes } = options;
    this.#picker = new BlockPicker({
      blockCount,
      isSequential,
      isExclusive: verifies,
      seed: random.nextU32(),
    });
    this.#pattern = verifies ? new Pattern(blockBytes, random) : null;
    this.#versions = new Uint32Array(verifies ? blockCount : 0);
  }

  /** Resolves when the time is up and every answer is there; failed requests are counted, not thrown. */
  async run(): Promise<void> {
    const { clock, durationMs, depth, blockBytes, random } = this.options;
    const slots = Array.from({ length: depth }, () => new LoadSlot(this, random.nextBytes(blockBytes)));
    this.#startMs = clock.nowMs();
    this.#endMs = this.#startMs + durationMs;
    await this.#runSlots(slots);
    this.totals.elapsedMs = clock.nowMs() - this.#startMs;
    if (this.#pattern === null || this.#isStopped) return;
    this.#phase = 'check';
    await this.#runSlots(slots);
  }

  /** Starts nothing new; `run` resolves soon after, without the check at the end. */
  stop(): void {
    this.#isStopped = true;
  }

  /** Whether the time is up and what was written is being read back. */
  get isChecking(): boolean {
    return this.#phase === 'check';
  }

  #runSlots(slots: readonly LoadSlot[]): Promise<void> {
    return new Promise((resolve) => {
      this.#resolve = resolve;
      this.#busy = slots.length;
      for (const slot of slots) this.#next(slot, this.options.clock.nowMs());
    });
  }

  /** For slots: an answer. */
  completed(slot: LoadSlot, error: DeviceError | null): void {
    const nowMs = this.options.clock.nowMs();
    if (error !== null) {
      this.totals.errors += 1;
      this.totals.firstError ??= error;
    }
    if (slot.op === 'flush') {
      this.totals.flushes += 1;
      this.flushLatency.record(nowMs - slot.startedMs);
    } else {
      if (this.#phase === 'load') {
        this.latency.record(nowMs - slot.startedMs);
        if (slot.op === 'read') this.totals.reads += 1;
        else this.#countWrite();
      }
      if (this.#pattern !== null) this.#afterVerified(slot, this.#pattern, error);
    }
    this.#next(slot, nowMs);
  }

  #countWrite(): void {
    this.totals.writes += 1;
    this.#writesSinceFlush += 1;
  }

  #afterVerified(slot: LoadSlot, pattern: Pattern, error: DeviceError | null): void {
    const version = this.#versions[slot.blockIndex] ?? UNKNOWN;
    if (this.#phase === 'load') this.#picker.release(slot.blockIndex);
    if (slot.op === 'write') {
      this.#versions[slot.blockIndex] = error === null ? slot.version : UNKNOWN;
      return;
    }
    if (error !== null || version === UNKNOWN) return;
    this.totals.checkedBlocks += 1;
    if (pattern.isIntact(slot.memory, slot.blockIndex, version)) return;
    this.totals.mismatches += 1;
    if (this.totals.mismatchDetails.length >= DETAILS_MAX) return;
    this.totals.mismatchDetails.push(
      `block ${slot.blockIndex} at byte ${slot.offsetBytes}: expected version ${version}, ` +
        `found ${pattern.describe(slot.memory)}`,
    );
  }

  #next(slot: LoadSlot, nowMs: number): void {
    slot.startedMs = nowMs;
    const hasWork = this.#phase === 'load' ? this.#nextOfLoad(slot, nowMs) : this.#nextOfCheck(slot);
    if (hasWork) {
      this.options.device.start(slot);
      return;
    }
    this.#busy -= 1;
    if (this.#busy === 0) this.#resolve();
  }

  #nextOfLoad(slot: LoadSlot, nowMs: number): boolean {
    if (nowMs >= this.#endMs || this.#isStopped) return false;
    const { flushEvery, mode, blockBytes } = this.options;
    if (flushEvery > 0 && this.#writesSinceFlush >= flushEvery) {
      this.#writesSinceFlush = 0;
      slot.become('flush', 0, 0);
      return true;
    }
    slot.blockIndex = this.#picker.take();
    const isRead = mode === 'read' || (mode === 'mix' && this.#picker.coin());
    slot.become(isRead ? 'read' : 'write', slot.blockIndex * blockBytes, blockBytes);
    if (!isRead && this.#pattern !== null) {
      slot.version = this.#nextVersion();
      this.#pattern.fill(slot.memory, slot.blockIndex, slot.version);
    }
    return true;
  }

  /** Counts over all blocks, so that no block gets the same version twice in a run of four thousand million writes. */
  #nextVersion(): number {
    this.#version = this.#version === 0xffff_ffff ? UNKNOWN + 1 : this.#version + 1;
    return this.#version;
  }

  #nextOfCheck(slot: LoadSlot): boolean {
    const { blockCount, blockBytes } = this.options;
    while (this.#checkIndex < blockCount && this.#versions[this.#checkIndex] === UNKNOWN)
      this.#checkIndex += 1;
    if (this.#checkIndex >= blockCount || this.#isStopped) return false;
    slot.blockIndex = this.#checkIndex;
    this.#checkIndex += 1;
    slot.become('read', slot.blockIndex * blockBytes, blockBytes);
    return true;
  }
}

/** One request that is used again and again, and its memory. */
class LoadSlot implements BlockIo {
  op: BlockOp = 'read';
  offsetBytes = 0;
  lengthBytes = 0;
  readonly bufferAt = 0;
  blockIndex = 0;
  version = UNKNOWN;
  startedMs = 0;
  /** `memory`, but null for a flush. */
  buffer: Buffer | null = null;

  constructor(
    private readonly load: Load,
    readonly memory: Buffer,
  ) {}

  become(op: BlockOp, offsetBytes: number, lengthBytes: number): void {
    this.op = op;
    this.offsetBytes = offsetBytes;
    this.lengthBytes = lengthBytes;
    this.buffer = op === 'flush' ? null : this.memory;
  }

  done(error: DeviceError | null): void {
    this.load.completed(this, error);
  }
}
