import type { BlockDevice, BlockIo, DeviceError } from '../../device/block-device.js';
import { isFlushDenial } from '../../device/request.js';
import { assert } from '../../protocol/errors.js';
import { toNbdErrno, type NbdErrnoName } from '../../protocol/nbd-errno.js';
import {
  NBD_SHORT_REPLY_BYTES_MAX,
  NBD_SIMPLE_REPLY,
  encodeNbdErrorChunk,
  encodeNbdReadChunk,
  encodeNbdSimpleReply,
  nbdReadHeaderBytes,
  type NbdCookie,
} from '../../protocol/nbd-reply.js';
import {
  NBD_REQUEST,
  decodeNbdRequest,
  nbdRefusalOf,
  type NbdRequestHeader,
  type NbdTerms,
} from '../../protocol/nbd-request.js';
import { NBD_COMMAND } from '../../protocol/nbd.js';
import { WINDOW_BYTES_MAX, WINDOW_REQUESTS_MAX } from '../stream/limits.js';
import type { Replies } from '../stream/replies.js';
import type { Payload, RequestFormat, RequestSink } from '../stream/request-reader.js';
import type { SlabMemory } from '../stream/slabs.js';
import { PIECE_BYTES } from './limits.js';
import { startInPieces } from './pieces.js';
import { ServedRequest } from './served-request.js';

/** A request as NBD has it on the wire. */
export const NBD_REQUEST_FORMAT: RequestFormat<NbdRequestHeader> = {
  headerBytes: NBD_REQUEST.sizeBytes,
  create: () => ({ flags: 0, command: 0, cookieHigh: 0, cookieLow: 0, offsetBytes: 0, lengthBytes: 0 }),
  decode: decodeNbdRequest,
  payloadBytes: ({ command, lengthBytes }) => (command === NBD_COMMAND.write ? lengthBytes : 0),
  isGoodbye: ({ command }) => command === NBD_COMMAND.disconnect,
};

export interface TransmissionStats {
  requests: number;
  readBytes: number;
  writtenBytes: number;
  errors: number;
}

/** What a transmission tells its connection. */
export interface TransmissionEvents {
  /** A request that the client should not have sent. It has been answered. */
  refused(header: NbdRequestHeader, errno: NbdErrnoName): void;
  /** The device failed a request. It has been answered. */
  failed(error: DeviceError): void;
  disconnected(): void;
}

export interface TransmissionOptions {
  readonly device: BlockDevice;
  readonly terms: NbdTerms;
  readonly isStructured: boolean;
  readonly memory: SlabMemory;
  readonly replies: Replies;
  readonly events: TransmissionEvents;
}

/**
 * One client's requests from the moment they have come until their answers are with the kernel.
 *
 * Data of a read goes from the device to where its answer is sent from, data of a write from where it came in to the
 * device. All requests of one delivery are started before any is answered; what is done in one turn is sent together.
 *
 * Invariants: `#atDevice` requests are the device's; the window counts those and all answers that are not sent.
 */
export class Transmission implements RequestSink<NbdRequestHeader, NbdErrnoName> {
  readonly stats: TransmissionStats = { requests: 0, readBytes: 0, writtenBytes: 0, errors: 0 };
  #windowRequests = 0;
  #windowBytes = 0;
  #atDevice = 0;
  #isSendPlanned = false;
  readonly #idle: ServedRequest[] = [];
  readonly #readHeaderBytes: number;

  constructor(private readonly options: TransmissionOptions) {
    this.#readHeaderBytes = nbdReadHeaderBytes(options.isStructured);
  }

  get isFull(): boolean {
    return this.#windowRequests >= WINDOW_REQUESTS_MAX || this.#windowBytes >= WINDOW_BYTES_MAX;
  }

  /** Whether every request is answered and every answer sent, or given up. */
  get isIdle(): boolean {
    return this.#windowRequests === 0;
  }

  refusalOf(header: NbdRequestHeader): NbdErrnoName | null {
    return nbdRefusalOf(header, this.options.terms);
  }

  take(header: NbdRequestHeader, payload: Payload | null): void {
    const request = this.#idle.pop() ?? new ServedRequest(this.#done);
    request.begin(header);
    this.#windowRequests += 1;
    this.#windowBytes += request.dataBytes;
    this.#atDevice += 1;
    if (payload !== null) {
      request.buffer = payload.bytes;
      request.bufferAt = payload.at;
      request.slab = payload.slab;
    } else if (request.op === 'read') {
      this.#reserveAnswer(request);
    }
    this.#start(request);
  }

  refuse(header: NbdRequestHeader, errno: NbdErrnoName): void {
    this.#windowRequests += 1;
    this.stats.requests += 1;
    this.stats.errors += 1;
    this.#answerShortly(header, errno, `refused: ${errno}`, 0);
    this.options.events.refused(header, errno);
    this.#sendSoon();
  }

  disconnect(): void {
    this.options.events.disconnected();
  }

  /** To be called for each answer that Replies has sent or given up. */
  sent(count: number, requestBytes: number): void {
    this.#windowRequests -= count;
    this.#windowBytes -= requestBytes;
    assert(this.#windowRequests >= 0 && this.#windowBytes >= 0, 'nbd: more answers than requests');
  }

  #reserveAnswer(request: ServedRequest): void {
    const { memory, isStructured } = this.options;
    const answerBytes = this.#readHeaderBytes + request.lengthBytes;
    const slab = memory.take(answerBytes);
    const at = slab.usedBytes - answerBytes;
    if (isStructured) encodeNbdReadChunk(slab.bytes, at, request);
    else encodeNbdSimpleReply(slab.bytes, at, request, null);
    request.slab = slab;
    request.slabAt = at;
    request.buffer = slab.bytes;
    request.bufferAt = at + this.#readHeaderBytes;
  }

  #start(request: ServedRequest): void {
    const { device } = this.options;
    const { op } = request;
    if (op === 'write-zeroes' && request.isNoHole) this.#startLong(request, 'write zeroes as data');
    else if ((op === 'read' || op === 'write') && request.lengthBytes > PIECE_BYTES) {
      this.#startLong(request, op);
    } else device.start(request);
  }

  #startLong(request: ServedRequest, op: 'read' | 'write' | 'write zeroes as data'): void {
    const { offsetBytes, lengthBytes, buffer, bufferAt } = request;
    const long = { op, offsetBytes, lengthBytes, buffer, bufferAt };
    startInPieces(this.options.device, long, (error) => request.done(error));
  }

  readonly #done = (request: ServedRequest, error: DeviceError | null): void => {
    if (request.isFua && error === null && request.op !== 'read' && request.op !== 'flush') {
      this.#flushBefore(request);
      return;
    }
    this.#finish(request, error);
  };

  /** A FUA is asked only of devices that can flush: nbdRefusalOf has seen to that. */
  #flushBefore(request: ServedRequest): void {
    const flush: BlockIo = {
      op: 'flush',
      offsetBytes: 0,
      lengthBytes: 0,
      buffer: null,
      bufferAt: 0,
      done: (error) => this.#finish(request, error),
    };
    this.options.device.start(flush);
  }

  #finish(request: ServedRequest, error: DeviceError | null): void {
    const { stats } = this;
    this.#atDevice -= 1;
    stats.requests += 1;
    if (error !== null) this.#fail(request, error);
    else if (request.op === 'read') {
      stats.readBytes += request.lengthBytes;
      this.#addReadAnswer(request, this.#readHeaderBytes + request.lengthBytes);
    } else {
      if (request.op === 'write') stats.writtenBytes += request.lengthBytes;
      this.#givePayload(request);
      this.#answerShortly(request, null, '', request.dataBytes);
    }
    request.end();
    this.#idle.push(request);
    this.#sendSoon();
  }

  #fail(request: ServedRequest, error: DeviceError): void {
    // Who is told that a device has no flush may take that for one that needs none.
    const mustNotPass = request.op === 'flush' || request.isFua;
    const errno = mustNotPass && isFlushDenial(error) ? 'EIO' : toNbdErrno(error.errno);
    this.stats.errors += 1;
    this.options.events.failed(error);
    if (request.op !== 'read') {
      this.#givePayload(request);
      this.#answerShortly(request, errno, error.message, request.dataBytes);
      return;
    }
    // Its place is long enough: a sector is longer than any error.
    const { slab, slabAt } = request;
    assert(slab !== null, 'nbd: a read without a place for its answer');
    this.#addReadAnswer(request, this.#encodeShort(slab.bytes, slabAt, request, errno, error.message));
  }

  #addReadAnswer({ slab, slabAt, lengthBytes }: ServedRequest, answerBytes: number): void {
    assert(slab !== null, 'nbd: a read without a place for its answer');
    this.options.replies.add(slab, slabAt, slabAt + answerBytes, lengthBytes);
  }

  #givePayload({ slab }: ServedRequest): void {
    if (slab !== null) this.options.memory.give(slab, 1);
  }

  /** An answer without data, of a request that counts for `requestBytes` in the window. */
  #answerShortly(cookie: NbdCookie, errno: NbdErrnoName | null, text: string, requestBytes: number): void {
    const { memory, replies } = this.options;
    const placeBytes = errno === null ? NBD_SIMPLE_REPLY.sizeBytes : NBD_SHORT_REPLY_BYTES_MAX;
    const slab = memory.take(placeBytes);
    const at = slab.usedBytes - placeBytes;
    const answerBytes = this.#encodeShort(slab.bytes, at, cookie, errno, text);
    replies.add(slab, at, at + answerBytes, requestBytes);
  }

  #encodeShort(
    bytes: Buffer,
    at: number,
    cookie: NbdCookie,
    errno: NbdErrnoName | null,
    text: string,
  ): number {
    // With structured replies a simple one is still right for a success without data, and an error can carry a text.
    if (errno === null || !this.options.isStructured) return encodeNbdSimpleReply(bytes, at, cookie, errno);
    return encodeNbdErrorChunk(bytes, at, cookie, { errno, text });
  }

  /**
   * When nothing is at the device, there is nothing to wait for. Else the answers of this turn are gathered, as far as
   * that is worth it.
   */
  #sendSoon(): void {
    const { replies } = this.options;
    if (this.#atDevice === 0 || replies.isWorthSending) {
      replies.send();
    } else if (!this.#isSendPlanned) {
      this.#isSendPlanned = true;
      setImmediate(this.#sendPlanned);
    }
  }

  readonly #sendPlanned = (): void => {
    this.#isSendPlanned = false;
    this.options.replies.send();
  };
}
