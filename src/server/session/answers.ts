import type { Clock } from '../../device/clock.js';
import { type ErrnoName, toWireErrno } from '../../protocol/errno.js';
import { HEADER } from '../../protocol/request.js';
import type { SessionMemory } from './memory.js';

/** An answer in memory of its own: the request's header as it came, our error field, and what follows on success. */
export function encodeAnswer(header: Buffer, errno: ErrnoName | null, body: Buffer | null = null): Buffer {
  const answer = Buffer.alloc(HEADER.sizeBytes + (body?.length ?? 0));
  header.copy(answer, 0, 0, HEADER.sizeBytes);
  answer.writeUInt16BE(errno === null ? 0 : toWireErrno(errno), HEADER.errorAt);
  body?.copy(answer, HEADER.sizeBytes);
  return answer;
}

/**
 * The main thread's way to the client: sends answers between those of the engine, never blocking this thread. The send
 * lock keeps the two from mixing their bytes.
 */
export class AnswerQueue {
  readonly #waiting: Buffer[] = [];
  #isBusy = false;
  #idle: (() => void)[] = [];

  /** `write` resolves when all bytes are written; its failure means that the connection is broken. */
  constructor(
    private readonly memory: SessionMemory,
    private readonly write: (bytes: Buffer) => Promise<void>,
    private readonly clock: Clock,
    private readonly broken: () => void,
  ) {}

  /** Takes `answer` over. */
  send(answer: Buffer): void {
    this.#waiting.push(answer);
    if (!this.#isBusy) this.#next();
  }

  /** Resolves when everything is sent or the connection is broken. */
  whenIdle(): Promise<void> {
    if (!this.#isBusy) return Promise.resolve();
    return new Promise((resolve) => this.#idle.push(resolve));
  }

  #next(): void {
    if (this.#waiting.length === 0) {
      this.#isBusy = false;
      for (const resolve of this.#idle.splice(0)) resolve();
      return;
    }
    this.#isBusy = true;
    // The engine, or who sends for it, holds the lock for as long as one write(2) takes; waiting for it here must not stop the watchdog.
    this.memory.isSendWanted = true;
    if (!this.memory.tryLockSend()) {
      this.clock.after(1, () => this.#next());
      return;
    }
    this.memory.isSendWanted = false;
    const bytes = Buffer.concat(this.#waiting.splice(0));
    this.write(bytes).then(
      () => {
        this.memory.unlockSendAndWake();
        this.#next();
      },
      () => {
        this.memory.unlockSendAndWake();
        this.#waiting.length = 0;
        this.#next();
        this.broken();
      },
    );
  }
}
