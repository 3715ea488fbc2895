import { HEADER, REQUEST_BYTES_MAX } from '../../protocol/request.js';

/**
 * What the engine's thread is doing. It moves itself by compare-and-exchange; the watchdog may put `halted` in place of
 * `reading` (to stop a session) or of `disk` (when the disk hangs), and the engine's next move then fails and parks it.
 */
export const PHASE = { reading: 0, working: 1, disk: 2, sending: 3, halted: 4 } as const;
export type Phase = (typeof PHASE)[keyof typeof PHASE];

const WORD = {
  phase: 0,
  moves: 1,
  isParked: 2,
  sendLock: 3,
  at: 4,
  have: 5,
  outEnd: 6,
  slow: 7,
  isDirty: 8,
  isStopping: 9,
  late: 10,
  isWelcome: 11,
  outputIndex: 12,
  sends: 13,
  sendBytes: 14,
  isSenderReady: 15,
  isSenderBroken: 16,
  isSendWanted: 17,
} as const;
const WORD_COUNT = 18;

const COUNTER = { skipBytes: 0, requests: 1, bytesRead: 2, bytesWritten: 3, errors: 4 } as const;
const COUNTER_COUNT = 8;

/**
 * How much is read at once and gathered before it is sent: eight requests of the size that this client uses, but at
 * least the first number, 16 writes of 4 KiB with their headers, so that many small ones share a system call, and at
 * most the third, so that the client works while the disk does. Where the processors are crowded there is no such
 * overlap, and system calls and wakings cost more: then the second number, 32 requests of 4 KiB, stands for the first
 * (measured, docs/performance.md).
 */
export const BATCH_BYTES_MIN = 65_904;
export const BATCH_BYTES_MIN_CROWDED = 135_168;
export const BATCH_BYTES_MAX = 1_048_576;
export const BATCH_REQUESTS = 8;

const IN_BYTES = 2 * (REQUEST_BYTES_MAX + HEADER.sizeBytes) + BATCH_BYTES_MAX;
const OUT_BYTES = BATCH_BYTES_MAX + REQUEST_BYTES_MAX + HEADER.sizeBytes;

/** The shared blocks, as they are handed to the engine's thread. */
export interface SessionMemoryBlocks {
  readonly words: SharedArrayBuffer;
  readonly counters: SharedArrayBuffer;
  readonly input: SharedArrayBuffer;
  readonly outputs: readonly [SharedArrayBuffer, SharedArrayBuffer];
}

export interface Counters {
  readonly requests: number;
  readonly bytesRead: number;
  readonly bytesWritten: number;
  readonly errors: number;
}

/**
 * A session's state that its two threads share. Who may write: the engine, except while it is parked (then the
 * watchdog); the send lock belongs to whoever holds it. Invariant: 0 <= at <= have <= input.length.
 */
export class SessionMemory {
  readonly input: Buffer;
  readonly #outputs: readonly [Buffer, Buffer];
  readonly #words: Int32Array;
  readonly #counters: Float64Array;

  private constructor(readonly blocks: SessionMemoryBlocks) {
    this.input = Buffer.from(blocks.input);
    this.#outputs = [Buffer.from(blocks.outputs[0]), Buffer.from(blocks.outputs[1])];
    this.#words = new Int32Array(blocks.words);
    this.#counters = new Float64Array(blocks.counters);
  }

  static create(): SessionMemory {
    return new SessionMemory({
      words: new SharedArrayBuffer(WORD_COUNT * Int32Array.BYTES_PER_ELEMENT),
      counters: new SharedArrayBuffer(COUNTER_COUNT * Float64Array.BYTES_PER_ELEMENT),
      input: new SharedArrayBuffer(IN_BYTES),
      // The second one is untouched, and so takes no memory, until the sender's thread is used.
      outputs: [new SharedArrayBuffer(OUT_BYTES), new SharedArrayBuffer(OUT_BYTES)],
    });
  }

  static from(blocks: SessionMemoryBlocks): SessionMemory {
    return new SessionMemory(blocks);
  }

  /** Where answers gather; another place after each `handOver`. */
  get output(): Buffer {
    return this.#outputs[this.#words[WORD.outputIndex] === 1 ? 1 : 0];
  }

  get phase(): number {
    return Atomics.load(this.#words, WORD.phase);
  }

  /** Counts the engine's moves (it wraps); one that stands still in `disk` means a disk that hangs. */
  get moves(): number {
    return Atomics.load(this.#words, WORD.moves);
  }

  /** False when the other thread was faster. */
  move(from: Phase, to: Phase): boolean {
    if (Atomics.compareExchange(this.#words, WORD.phase, from, to) !== from) return false;
    this.#words[WORD.moves] = (this.#words[WORD.moves] ?? 0) + 1;
    return true;
  }

  /** Engine: after a move that failed. Returns when the watchdog resumes it; most halts end with the process. */
  park(): void {
    Atomics.store(this.#words, WORD.isParked, 1);
    while (this.phase === PHASE.halted) Atomics.wait(this.#words, WORD.phase, PHASE.halted);
    Atomics.store(this.#words, WORD.isParked, 0);
  }

  /** Watchdog: the engine has left its system call and waits. */
  get isParked(): boolean {
    return Atomics.load(this.#words, WORD.isParked) === 1;
  }

  /** Watchdog, with the engine parked: lets it go on from what `at`, `have`, `outEnd` and `skipBytes` say. */
  resume(): void {
    Atomics.store(this.#words, WORD.phase, PHASE.working);
    Atomics.notify(this.#words, WORD.phase);
  }

  /** Main thread: the client has its answer to the handshake. */
  welcome(): void {
    Atomics.store(this.#words, WORD.isWelcome, 1);
    Atomics.notify(this.#words, WORD.isWelcome);
  }

  /** Engine's thread: returns when the client has its answer, before which nothing may be sent to it. */
  awaitWelcome(): void {
    while (Atomics.load(this.#words, WORD.isWelcome) === 0) Atomics.wait(this.#words, WORD.isWelcome, 0);
  }

  /** Engine: waits for the lock. */
  lockSend(): void {
    while (!this.tryLockSend()) Atomics.wait(this.#words, WORD.sendLock, 1);
  }

  tryLockSend(): boolean {
    return Atomics.compareExchange(this.#words, WORD.sendLock, 0, 1) === 0;
  }

  /** Watchdog: it waits for the lock, or has it. */
  set isSendWanted(value: boolean) {
    Atomics.store(this.#words, WORD.isSendWanted, value ? 1 : 0);
  }
  get isSendWanted(): boolean {
    return Atomics.load(this.#words, WORD.isSendWanted) === 1;
  }

  /** Engine: nobody sleeps on the lock while the engine has it, for the other thread never waits (AnswerQueue). */
  unlockSend(): void {
    Atomics.store(this.#words, WORD.sendLock, 0);
  }

  /** Watchdog, sender: the engine may sleep on the lock. */
  unlockSendAndWake(): void {
    this.unlockSend();
    Atomics.notify(this.#words, WORD.sendLock, 1);
  }

  /** Sender: it waits for answers from now on. */
  setSenderReady(): void {
    Atomics.store(this.#words, WORD.isSenderReady, 1);
  }

  get isSenderReady(): boolean {
    return Atomics.load(this.#words, WORD.isSenderReady) === 1;
  }

  /** Engine, with the send lock, which is the sender's from now on: it sends `lengthBytes` of `output`. */
  handOver(lengthBytes: number): void {
    this.#words[WORD.sendBytes] = lengthBytes;
    this.#words[WORD.outputIndex] = 1 - (this.#words[WORD.outputIndex] ?? 0);
    Atomics.add(this.#words, WORD.sends, 1);
    Atomics.notify(this.#words, WORD.sends);
  }

  /** Counts what was handed over and what of it was sent (it wraps): odd while the sender sends. */
  get sends(): number {
    return Atomics.load(this.#words, WORD.sends);
  }

  get isSending(): boolean {
    return this.sends % 2 !== 0;
  }

  /** Sender: waits for answers to send. They stay as they are until `sent`. */
  takeAnswers(): Buffer {
    for (let sends = this.sends; sends % 2 === 0; sends = this.sends)
      Atomics.wait(this.#words, WORD.sends, sends);
    return this.#outputs[this.#words[WORD.outputIndex] === 1 ? 0 : 1].subarray(
      0,
      this.#words[WORD.sendBytes] ?? 0,
    );
  }

  /** Sender: the answers are sent, or the connection is broken. The send lock is free again. */
  sent(isBroken: boolean): void {
    if (isBroken) Atomics.store(this.#words, WORD.isSenderBroken, 1);
    Atomics.add(this.#words, WORD.sends, 1);
    this.unlockSendAndWake();
  }

  get isSenderBroken(): boolean {
    return Atomics.load(this.#words, WORD.isSenderBroken) === 1;
  }

  /** Start of the request being served, in `input`. */
  get at(): number {
    return this.#words[WORD.at] ?? 0;
  }
  set at(value: number) {
    this.#words[WORD.at] = value;
  }

  /** End of what has been received, in `input`. */
  get have(): number {
    return this.#words[WORD.have] ?? 0;
  }
  set have(value: number) {
    this.#words[WORD.have] = value;
  }

  /** End of the finished answers that are not sent yet, in `output`. */
  get outEnd(): number {
    return this.#words[WORD.outEnd] ?? 0;
  }
  set outEnd(value: number) {
    this.#words[WORD.outEnd] = value;
  }

  /** Payload of a refused write that is still to be thrown away; up to 4 GiB. */
  get skipBytes(): number {
    return this.#counters[COUNTER.skipBytes] ?? 0;
  }
  set skipBytes(value: number) {
    this.#counters[COUNTER.skipBytes] = value;
  }

  /** Slow operations under way. Waits while there are `max`. */
  takeSlow(max: number): void {
    for (;;) {
      const now = Atomics.load(this.#words, WORD.slow);
      if (now < max) break;
      Atomics.wait(this.#words, WORD.slow, now);
    }
    Atomics.add(this.#words, WORD.slow, 1);
  }

  releaseSlow(): void {
    Atomics.sub(this.#words, WORD.slow, 1);
    Atomics.notify(this.#words, WORD.slow);
  }

  get slow(): number {
    return Atomics.load(this.#words, WORD.slow);
  }

  /** Slow changes that the client was told of as failed, and that may reach the disk yet. */
  get isAnyLate(): boolean {
    return Atomics.load(this.#words, WORD.late) > 0;
  }

  /** Watchdog: one more of those, or with -1 one less. */
  addLate(count: 1 | -1): void {
    Atomics.add(this.#words, WORD.late, count);
  }

  /** Watchdog: the engine is to end before its next read. Seen at once only by an engine that is not in a read. */
  requestStop(): void {
    Atomics.store(this.#words, WORD.isStopping, 1);
  }

  get isStopping(): boolean {
    return Atomics.load(this.#words, WORD.isStopping) === 1;
  }

  /** Whether something was written since the last flush began. Set before the write's answer is sent. */
  setDirty(): void {
    this.#words[WORD.isDirty] = 1;
  }

  /** Returns the old value and clears it. */
  takeDirty(): boolean {
    return Atomics.exchange(this.#words, WORD.isDirty, 0) === 1;
  }

  count(bytesRead: number, bytesWritten: number, errors: number): void {
    const counters = this.#counters;
    counters[COUNTER.requests] = (counters[COUNTER.requests] ?? 0) + 1;
    counters[COUNTER.bytesRead] = (counters[COUNTER.bytesRead] ?? 0) + bytesRead;
    counters[COUNTER.bytesWritten] = (counters[COUNTER.bytesWritten] ?? 0) + bytesWritten;
    counters[COUNTER.errors] = (counters[COUNTER.errors] ?? 0) + errors;
  }

  counters(): Counters {
    const counters = this.#counters;
    return {
      requests: counters[COUNTER.requests] ?? 0,
      bytesRead: counters[COUNTER.bytesRead] ?? 0,
      bytesWritten: counters[COUNTER.bytesWritten] ?? 0,
      errors: counters[COUNTER.errors] ?? 0,
    };
  }
}
