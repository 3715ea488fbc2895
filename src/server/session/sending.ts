import { PHASE, type SessionMemory } from './memory.js';

/** The two connections, blocking. Both methods throw the operating system's error when the connection is broken. */
export interface Wire {
  /**
   * Returns how many bytes came, 0 at the end. `isLone`: what was read last was one request, so the next one comes when
   * its client has seen the answer.
   */
  read(into: Buffer, at: number, lengthBytesMax: number, isLone: boolean): number;
  /** Returns when everything is written. */
  write(from: Buffer, at: number, lengthBytes: number): void;
}

/** A thread that sends answers while the engine is at the next ones (send-thread.ts). */
export interface SendHelper {
  /** Whether it is there. If not, asking for it makes it come; until then, or if it never comes, all goes without. */
  isReady(): boolean;
  /** It has been given something: `memory.takeAnswers` will return it. */
  handedOver(): void;
}

/** Less is sent sooner than another thread is woken for it. */
const HAND_OVER_BYTES_MIN = 131_072;

/**
 * The engine's way to the client. Where many large reads are under way it hands their answers over to another thread:
 * each byte is copied twice, from the system's cache and into the socket, and so the two copies run on two processors
 * (docs/performance.md). The send lock goes with them, so answers keep their order, and at most one buffer is on its way.
 */
export class Sending {
  constructor(
    private readonly memory: SessionMemory,
    private readonly wire: Pick<Wire, 'write'>,
    private readonly helper: SendHelper,
  ) {}

  /** Whether another thread may be sending while the engine works. */
  get isPipelined(): boolean {
    return this.memory.isSenderReady;
  }

  /**
   * Sends `lengthBytes` of `memory.output`, which may be another buffer afterwards. `isWorthIt`: there will be something
   * to do meanwhile. Throws WireBroken, for what was handed over before, too.
   */
  send(lengthBytes: number, isWorthIt: boolean): void {
    const { memory } = this;
    const isBusy = memory.isSending;
    memory.move(PHASE.working, PHASE.sending);
    try {
      this.#lock();
      if (
        (isWorthIt || isBusy) &&
        lengthBytes >= HAND_OVER_BYTES_MIN &&
        // The main thread takes the lock when it finds it free, which it would hardly ever.
        !memory.isSendWanted &&
        this.helper.isReady()
      ) {
        memory.handOver(lengthBytes);
        this.helper.handedOver();
      } else this.#write(lengthBytes);
    } finally {
      memory.move(PHASE.sending, PHASE.working);
    }
  }

  /** Returns when everything that was handed over is sent. Throws WireBroken. */
  settle(): void {
    const { memory } = this;
    if (!memory.isSending && !memory.isSenderBroken) return;
    memory.move(PHASE.working, PHASE.sending);
    try {
      this.#lock();
      memory.unlockSend();
    } finally {
      memory.move(PHASE.sending, PHASE.working);
    }
  }

  #lock(): void {
    this.memory.lockSend();
    if (!this.memory.isSenderBroken) return;
    this.memory.unlockSend();
    throw new WireBroken();
  }

  #write(lengthBytes: number): void {
    try {
      this.wire.write(this.memory.output, 0, lengthBytes);
    } catch (error) {
      throw new WireBroken({ cause: error });
    } finally {
      this.memory.unlockSend();
    }
  }
}

export class WireBroken extends Error {
  constructor(options: ErrorOptions = {}) {
    super('the connection is broken', options);
  }
}
