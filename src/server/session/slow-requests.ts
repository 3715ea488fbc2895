import { DeviceError } from '../../device/block-device.js';
import type { Clock, Timer } from '../../device/clock.js';
import { FlushTurns } from '../../device/flush-turns.js';
import type { ErrnoName } from '../../protocol/errno.js';
import type { ByteRange } from '../../protocol/geometry.js';
import { viewOf } from '../../protocol/integers.js';
import { checksumsBytes } from '../../protocol/region-checksums.js';
import { COMMAND, type RequestHeader, decodeHeader } from '../../protocol/request.js';
import { encodeAnswer } from './answers.js';
import type { FlushDebt } from '../flush-debt.js';
import type { SessionMemory } from './memory.js';

/** What takes long, on the session's open file. Each rejects with DeviceError. */
export interface SlowOperations {
  flush(): Promise<void>;
  trim(range: ByteRange): Promise<void>;
  writeZeroes(range: ByteRange): Promise<void>;
  /** Fills `into` with the region checksums of the range. */
  checksum(range: ByteRange, into: Buffer): Promise<void>;
}

/** How many other than flushes run at once; each holds a thread of the pool for a while. */
const RUNNING_MAX = 2;

interface Pending {
  readonly header: Buffer;
  readonly request: RequestHeader;
  readonly timer: Timer;
  isAnswered: boolean;
  /** It changes the medium at this moment. */
  isChanging: boolean;
}

/**
 * Flushes and our own commands, done beside the engine so that they hold nothing up. Each is answered exactly once, at
 * the latest when the disk's time is up. A change that the disk still has then is counted as late, and while there is one
 * the engine answers everything with ETIMEDOUT.
 */
export class SlowRequests {
  /**
   * Whether a flush failed, for the disk or for what an earlier session owed. A good one after it takes nothing back: the
   * answers of both may be lost.
   */
  hasFlushFailed = false;
  readonly #waiting: Pending[] = [];
  #running = 0;
  readonly #flushes = new FlushTurns<Pending>({
    begin: () => this.#flush(),
    answer: (group, error) => {
      for (const pending of group) this.#finish(pending, error);
    },
  });

  constructor(
    private readonly options: {
      readonly memory: SessionMemory;
      readonly operations: SlowOperations;
      /** What earlier sessions have left; the first good flush pays it. */
      readonly debt: FlushDebt;
      readonly answer: (bytes: Buffer) => void;
      readonly failed: (request: RequestHeader, errno: ErrnoName, message: string) => void;
      readonly clock: Clock;
      readonly timeoutMs: number;
    },
  ) {}

  /** One that took too long is answered and yet may run. */
  get isFlushing(): boolean {
    return this.#flushes.running.length > 0;
  }

  /** A request that the engine has judged good. `header` is kept. */
  accept(header: Buffer): void {
    const request: RequestHeader = { command: 0, offsetBytes: 0, lengthBytes: 0 };
    decodeHeader(viewOf(header), 0, request);
    const { clock, timeoutMs } = this.options;
    const timer = clock.after(timeoutMs, () => {
      // Before the client can know: it may write there again as soon as it does.
      if (pending.isChanging) this.options.memory.addLate(1);
      this.#finish(
        pending,
        new DeviceError('DEVICE_TIMEOUT', 'ETIMEDOUT', `the disk is silent for ${timeoutMs / 1000} s`),
      );
    });
    const pending: Pending = { header, request, timer, isAnswered: false, isChanging: false };
    // A READ or WRITE here is one of nothing: the flush of clients before FreeBSD 14.
    if (request.command < COMMAND.writeZeroes) this.#flushes.add(pending);
    else {
      this.#waiting.push(pending);
      this.#runNext();
    }
  }

  #flush(): void {
    const { memory, operations, debt } = this.options;
    memory.takeDirty();
    const end = (failure: unknown): void => {
      const error = failure === null ? debt.pay() : asFailure(failure);
      this.hasFlushFailed ||= error !== null;
      // What the failed flush should have covered is still not safe.
      if (error !== null) memory.setDirty();
      this.#flushes.ended(error);
    };
    operations.flush().then(() => end(null), end);
  }

  #runNext(): void {
    while (this.#running < RUNNING_MAX) {
      const pending = this.#waiting.shift();
      if (pending === undefined) return;
      if (pending.isAnswered) continue;
      this.#running += 1;
      const body = pending.request.command === COMMAND.checksum ? this.#checksumBody(pending.request) : null;
      pending.isChanging = body === null;
      const end = (error: unknown): void => {
        this.#running -= 1;
        if (pending.isChanging && pending.isAnswered) this.options.memory.addLate(-1);
        this.#finish(pending, error, body);
        this.#runNext();
      };
      this.#run(pending.request, body).then(() => end(null), end);
    }
  }

  #checksumBody(request: RequestHeader): Buffer {
    return Buffer.alloc(checksumsBytes(request.lengthBytes));
  }

  #run(request: RequestHeader, body: Buffer | null): Promise<void> {
    const { memory, operations } = this.options;
    const range = { offsetBytes: request.offsetBytes, lengthBytes: request.lengthBytes };
    if (body !== null) return operations.checksum(range, body);
    memory.setDirty();
    return request.command === COMMAND.trim ? operations.trim(range) : operations.writeZeroes(range);
  }

  #finish(pending: Pending, error: unknown, body: Buffer | null = null): void {
    if (pending.isAnswered) return;
    pending.isAnswered = true;
    pending.timer.cancel();
    const { memory, answer, failed } = this.options;
    if (error === null) answer(encodeAnswer(pending.header, null, body));
    else {
      const failure = asFailure(error);
      answer(encodeAnswer(pending.header, failure.errno));
      failed(pending.request, failure.errno, failure.message);
    }
    memory.releaseSlow();
  }
}

const asFailure = (cause: unknown): DeviceError =>
  cause instanceof DeviceError ? cause : new DeviceError('DEVICE_IO', 'EIO', 'the disk failed', { cause });
