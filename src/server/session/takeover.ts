import {
  COMMAND,
  HEADER,
  type RequestHeader,
  type SessionTerms,
  decodeHeader,
  refusalOf,
} from '../../protocol/request.js';
import { assert } from '../../protocol/errors.js';
import { viewOf } from '../../protocol/integers.js';
import { encodeAnswer } from './answers.js';
import { BATCH_BYTES_MIN, PHASE, type SessionMemory } from './memory.js';

/** How a takeover ended: the disk came back and the engine goes on, or the client went away. */
export type TakeoverEnd = 'resumed' | 'client gone';

/**
 * Speaks for the engine while its disk hangs: sends the answers that it had ready, answers the request that hangs and
 * each one after it with ETIMEDOUT, and gives the connections back when the engine has returned from its system call.
 * A write that hung may reach the disk late, but never after a newer one of this session: those are refused meanwhile.
 *
 * The engine's input buffer is left alone until then, for a hanging write still reads from it.
 */
export class Takeover {
  readonly #chunk = Buffer.alloc(BATCH_BYTES_MIN);
  #skipBytes = 0;
  #bytes: Buffer;

  private constructor(
    private readonly memory: SessionMemory,
    private readonly terms: SessionTerms,
    private readonly answer: (bytes: Buffer) => void,
  ) {
    const ready = Buffer.from(memory.output.subarray(0, memory.outEnd));
    if (ready.length > 0) answer(ready);
    this.#bytes = Buffer.from(memory.input.subarray(memory.at, memory.have));
  }

  /** Null when the engine is no longer in the disk call that seemed to hang. */
  static begin(memory: SessionMemory, terms: SessionTerms, answer: (bytes: Buffer) => void): Takeover | null {
    return memory.move(PHASE.disk, PHASE.halted) ? new Takeover(memory, terms, answer) : null;
  }

  /** `read` is one read of the receive half, 0 at its end; it rejects when the connection is broken. */
  async run(read: (into: Buffer) => Promise<number>): Promise<TakeoverEnd> {
    this.#refuseAll();
    for (;;) {
      if (this.#giveBack()) return 'resumed';
      let cameBytes: number;
      try {
        cameBytes = await read(this.#chunk);
      } catch {
        return 'client gone';
      }
      if (cameBytes === 0) return 'client gone';
      this.#bytes = Buffer.concat([this.#bytes, this.#chunk.subarray(0, cameBytes)]);
      // Requests that come once the disk is back are the engine's to serve.
      if (this.#giveBack()) return 'resumed';
      this.#refuseAll();
    }
  }

  /** Leaves at most an unfinished header in `#bytes`. */
  #refuseAll(): void {
    const request: RequestHeader = { command: 0, offsetBytes: 0, lengthBytes: 0 };
    const view = viewOf(this.#bytes);
    let at = 0;
    for (;;) {
      const stepBytes = Math.min(this.#skipBytes, this.#bytes.length - at);
      at += stepBytes;
      this.#skipBytes -= stepBytes;
      if (this.#bytes.length - at < HEADER.sizeBytes) break;
      decodeHeader(view, at, request);
      const errno = refusalOf(request, this.terms) ?? (request.command === COMMAND.ping ? null : 'ETIMEDOUT');
      this.answer(encodeAnswer(this.#bytes.subarray(at, at + HEADER.sizeBytes), errno));
      this.memory.count(0, 0, errno === null ? 0 : 1);
      at += HEADER.sizeBytes;
      if (request.command === COMMAND.write) this.#skipBytes = request.lengthBytes;
    }
    this.#bytes = Buffer.from(this.#bytes.subarray(at));
  }

  #giveBack(): boolean {
    const { memory } = this;
    if (!memory.isParked) return false;
    assert(this.#bytes.length <= memory.input.length, 'takeover: more left than the engine can hold');
    this.#bytes.copy(memory.input);
    memory.at = 0;
    memory.have = this.#bytes.length;
    memory.outEnd = 0;
    memory.skipBytes = this.#skipBytes;
    memory.resume();
    return true;
  }
}
