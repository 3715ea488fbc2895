import { COMMAND, HEADER, encodeHeader } from '../protocol/request.js';
import { assert } from '../protocol/errors.js';
import { GATHER_COPY_BYTES_MAX, SEND_BUFFER_BYTES } from './limits.js';
import type { WireRequest } from './in-flight.js';

/** Where the bytes go. The parts are lent until `sent`, which is not called when the connection ends before. */
export interface PartWriter {
  write(parts: readonly Buffer[], sent: () => void): void;
}

/** A pooled buffer, filled from front to back. */
interface SendBuffer {
  readonly bytes: Buffer;
  /** Writes under way that read from it. */
  lent: number;
  /** What is filled, and how much of that is in no part yet. */
  to: number;
  from: number;
}

/**
 * Gathers the requests of one turn of the event loop into as few parts as possible and sends them with one write.
 * Headers and small payloads are copied into pooled buffers; a large payload goes from where it lies. One a connection.
 * A buffer is filled on while earlier parts of it are still lent, and begins anew when none is.
 */
export class RequestWriter {
  readonly #pool: SendBuffer[] = [];
  #parts: Buffer[] = [];
  #lent: SendBuffer[] = [];
  #current: SendBuffer = newSendBuffer();
  #lastSeq = 0;
  #handedOverSeq = 0;

  /** `handedOver` is called when handedOverSeq has grown. */
  constructor(
    private readonly target: PartWriter,
    private readonly handedOver: () => void,
  ) {}

  /** All requests up to this number have left our memory: their payloads are no longer read. */
  get handedOverSeq(): number {
    return this.#handedOverSeq;
  }

  add(request: WireRequest): void {
    const payload = request.command === COMMAND.write ? request.buffer : null;
    const isCopied = payload === null || request.lengthBytes < GATHER_COPY_BYTES_MAX;
    const current = this.#room(HEADER.sizeBytes + (payload !== null && isCopied ? request.lengthBytes : 0));
    encodeHeader(current.bytes, current.to, request, request.seq);
    current.to += HEADER.sizeBytes;
    this.#lastSeq = request.seq;
    if (payload === null) return;
    const data = payload.subarray(request.bufferAt, request.bufferAt + request.lengthBytes);
    assert(data.length === request.lengthBytes, 'request writer: the buffer ends before the payload');
    if (isCopied) {
      current.bytes.set(data, current.to);
      current.to += data.length;
    } else {
      this.#closePart();
      this.#parts.push(data);
    }
  }

  /** Sends what was added. */
  flush(): void {
    this.#closePart();
    if (this.#parts.length === 0) return;
    const parts = this.#parts;
    const lent = this.#lent;
    const lastSeq = this.#lastSeq;
    this.#parts = [];
    this.#lent = [];
    this.target.write(parts, () => {
      for (const buffer of lent) this.#giveBack(buffer);
      this.#handedOverSeq = lastSeq;
      this.handedOver();
    });
  }

  #room(bytes: number): SendBuffer {
    if (this.#current.to + bytes > this.#current.bytes.length) {
      this.#closePart();
      // As many as the window's small payloads fill, at most.
      this.#current = this.#pool.pop() ?? newSendBuffer();
    }
    return this.#current;
  }

  #closePart(): void {
    const current = this.#current;
    if (current.from === current.to) return;
    this.#parts.push(current.bytes.subarray(current.from, current.to));
    current.from = current.to;
    current.lent += 1;
    this.#lent.push(current);
  }

  #giveBack(buffer: SendBuffer): void {
    buffer.lent -= 1;
    if (buffer.lent > 0) return;
    buffer.from = 0;
    buffer.to = 0;
    if (buffer !== this.#current) this.#pool.push(buffer);
  }
}

const newSendBuffer = (): SendBuffer => ({
  bytes: Buffer.allocUnsafeSlow(SEND_BUFFER_BYTES),
  lent: 0,
  from: 0,
  to: 0,
});
