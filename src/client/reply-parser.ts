import { ProtocolError } from '../protocol/errors.js';
import { assertRoom, readU16, readU32, readU64Inexact } from '../protocol/integers.js';
import { HEADER } from '../protocol/request.js';
import type { WireRequest } from './in-flight.js';

/** What the parser asks for and tells. */
export interface ReplySink {
  /** The request that was sent on this connection with this number and is not answered, or null. */
  find(seq: number): WireRequest | null;
  /** A whole answer: with error 0 its data is in the request's buffer. Not called twice for one request. */
  answered(request: WireRequest, errorNumber: number): void;
}

/**
 * Takes the stream of answers, cut anywhere, and copies data once, straight to where it was asked for. Holds no more
 * than one header; nothing is allocated by what the wire says. One parser a connection; after an error it is of no use.
 */
export class ReplyParser {
  readonly #header = Buffer.alloc(HEADER.sizeBytes);
  #headerLength = 0;
  #body: WireRequest | null = null;
  #bodyBytes = 0;

  constructor(private readonly sink: ReplySink) {}

  /** Takes the first `length` bytes. Throws ProtocolError: the stream can't be trusted any further. */
  push(bytes: Buffer, length: number): void {
    let at = 0;
    while (at < length) {
      if (this.#body !== null) at += this.#takeBody(this.#body, bytes, at, length);
      else if (this.#headerLength === 0 && length - at >= HEADER.sizeBytes) {
        this.#takeHeader(bytes, at);
        at += HEADER.sizeBytes;
      } else at += this.#gatherHeader(bytes, at, length);
    }
  }

  #gatherHeader(bytes: Buffer, at: number, length: number): number {
    const taken = Math.min(HEADER.sizeBytes - this.#headerLength, length - at);
    bytes.copy(this.#header, this.#headerLength, at, at + taken);
    this.#headerLength += taken;
    if (this.#headerLength === HEADER.sizeBytes) {
      this.#headerLength = 0;
      this.#takeHeader(this.#header, 0);
    }
    return taken;
  }

  #takeBody(request: WireRequest, bytes: Buffer, at: number, length: number): number {
    const taken = Math.min(request.answerBytes - this.#bodyBytes, length - at);
    request.buffer?.set(bytes.subarray(at, at + taken), request.bufferAt + this.#bodyBytes);
    this.#bodyBytes += taken;
    if (this.#bodyBytes === request.answerBytes) {
      this.#body = null;
      this.sink.answered(request, 0);
    }
    return taken;
  }

  #takeHeader(bytes: Buffer, at: number): void {
    assertRoom(bytes, at, HEADER.sizeBytes);
    // Inexact from 2^53 on, but then larger than any number that is in flight.
    const seq = readU64Inexact(bytes, at + HEADER.seqAt);
    const request = this.sink.find(seq);
    if (request === null) {
      throw new ProtocolError('PROTOCOL_UNEXPECTED', `the server answers request ${seq}, which is not open`);
    }
    const offsetBytes = readU64Inexact(bytes, at + HEADER.offsetAt);
    if (
      bytes[at] !== request.command ||
      offsetBytes !== request.offsetBytes ||
      readU32(bytes, at + HEADER.lengthAt) !== request.lengthBytes
    ) {
      throw new ProtocolError('PROTOCOL_UNEXPECTED', `the server's answer to request ${seq} is not its echo`);
    }
    const errorNumber = readU16(bytes, at + HEADER.errorAt);
    if (errorNumber === 0 && request.answerBytes > 0) {
      this.#body = request;
      this.#bodyBytes = 0;
    } else this.sink.answered(request, errorNumber);
  }
}
