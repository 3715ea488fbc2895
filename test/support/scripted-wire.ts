import type { Wire } from '../../src/server/session/sending.js';

/** A blocking connection that plays chunks to the engine, then its end, and keeps what the engine sends. */
export class ScriptedWire implements Wire {
  readonly sent: Buffer[] = [];
  /** How much each read asked for at most. */
  readonly asked: number[] = [];
  /** Where each read put the first of its bytes. */
  readonly places: number[] = [];
  #rest: Buffer;
  #turn = 0;

  /** `cut` says how many bytes at most the n-th read delivers. */
  constructor(
    input: Buffer,
    private readonly cut: (turn: number) => number = () => Infinity,
  ) {
    this.#rest = input;
  }

  read(into: Buffer, at: number, lengthBytesMax: number): number {
    this.asked.push(lengthBytesMax);
    this.places.push(at);
    const lengthBytes = Math.min(lengthBytesMax, this.#rest.length, Math.max(1, this.cut(this.#turn++)));
    this.#rest.copy(into, at, 0, lengthBytes);
    this.#rest = this.#rest.subarray(lengthBytes);
    return lengthBytes;
  }

  write(from: Buffer, at: number, lengthBytes: number): void {
    this.sent.push(Buffer.from(from.subarray(at, at + lengthBytes)));
  }

  get output(): Buffer {
    return Buffer.concat(this.sent);
  }
}
