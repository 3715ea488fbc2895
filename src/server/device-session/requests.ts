import { CAPABILITY_OF, type BlockDevice, type DeviceError } from '../../device/block-device.js';
import type { Clock } from '../../device/clock.js';
import { FlushTurns } from '../../device/flush-turns.js';
import { isFlushDenial } from '../../device/request.js';
import { FEATURE } from '../../protocol/capabilities.js';
import type { ErrnoName } from '../../protocol/errno.js';
import { assert } from '../../protocol/errors.js';
import {
  HEADER,
  type EchoedHeader,
  type RequestHeader,
  type SessionTerms,
  encodeAnswerHeader,
  refusalOf,
} from '../../protocol/request.js';
import { WINDOW_BYTES_MAX, WINDOW_REQUESTS_MAX } from '../stream/limits.js';
import type { Replies } from '../stream/replies.js';
import type { Payload, RequestSink } from '../stream/request-reader.js';
import type { SlabMemory } from '../stream/slabs.js';
import type { FlushDebt } from '../flush-debt.js';
import { InFlight } from './in-flight.js';
import { ServedRequest, opOf } from './served-request.js';

/** What a session has done; bytes of good requests only. */
export interface SessionCounters {
  requests: number;
  bytesRead: number;
  bytesWritten: number;
  errors: number;
}

export interface SessionRequestsOptions {
  readonly device: BlockDevice;
  readonly terms: SessionTerms;
  readonly memory: SlabMemory;
  readonly replies: Replies;
  readonly debt: FlushDebt;
  readonly clock: Clock;
  /** Calls back when this turn of the event loop is over. */
  readonly afterTurn: (run: () => void) => void;
  /** A request that the client should not have sent. It has been answered. */
  readonly refused: (header: RequestHeader, errno: ErrnoName) => void;
  /** The device failed a request. It has been answered. */
  readonly failed: (error: DeviceError) => void;
  /** The device is done with a request. */
  readonly done: () => void;
}

/**
 * One session's requests from the moment they have come until their answers are with the kernel.
 *
 * Data of a read goes from the device to where its answer is sent from, data of a write from where it came in to the
 * device. All requests of one delivery are started before any is answered; what is done in one turn is sent together.
 *
 * Invariants: requests at the device do not overlap if one of them is a change; one that would waits in `#parked`, and
 * nothing is taken behind it. The window counts what is at the device or parked and all answers that are not sent.
 */
export class SessionRequests implements RequestSink<EchoedHeader, ErrnoName> {
  readonly counters: SessionCounters = { requests: 0, bytesRead: 0, bytesWritten: 0, errors: 0 };
  /** Whether something was written that no good flush covers. */
  isDirty = false;
  /** Of the last flush that failed. A good one after it takes nothing back: the answers of both may be lost. */
  flushError: DeviceError | null = null;
  readonly #inFlight = new InFlight<ServedRequest>();
  #parked: ServedRequest | null = null;
  /** Of those that run together the first one is at the device, for all of them. */
  readonly #flushes = new FlushTurns<ServedRequest>({
    begin: ([first]) => {
      assert(first !== undefined, 'session: no flush to begin with');
      this.isDirty = false;
      this.#startNow(first);
    },
    answer: (flushes, error) => {
      for (const flush of flushes) this.#end(flush, error);
    },
  });
  #windowRequests = 0;
  #windowBytes = 0;
  /** Requests at the device that are given up. While there are any, no other is started: they might overtake. */
  #givenUp = 0;
  #isSendPlanned = false;
  readonly #idle: ServedRequest[] = [];

  constructor(private readonly options: SessionRequestsOptions) {}

  get isFull(): boolean {
    return (
      this.#parked !== null ||
      this.#windowRequests >= WINDOW_REQUESTS_MAX ||
      this.#windowBytes >= WINDOW_BYTES_MAX
    );
  }

  /** Whether every request is answered and every answer sent, or nobody is there to take it. */
  get isIdle(): boolean {
    return this.#windowRequests === 0;
  }

  /** Whether the device has nothing of ours. */
  get isDeviceIdle(): boolean {
    return this.#inFlight.count === 0;
  }

  /** How long a client waits for the device already; 0 if it does not. */
  waitedMs(): number {
    const nowMs = this.options.clock.nowMs();
    let oldestMs = this.#parked === null ? 0 : nowMs - this.#parked.waitsSinceMs;
    for (const { waitsSinceMs, isGivenUp } of this.#inFlight.all)
      if (!isGivenUp) oldestMs = Math.max(oldestMs, nowMs - waitsSinceMs);
    return oldestMs;
  }

  refusalOf(header: EchoedHeader): ErrnoName | null {
    const { terms, device } = this.options;
    const refusal = refusalOf(header, terms);
    if (refusal !== null) return refusal;
    const op = opOf(header, terms.mediaSizeBytes);
    if (op === null) return null;
    // What the device can do may change while the session lasts: a mirror's components come and go.
    if (!device.can[CAPABILITY_OF[op]]) return 'EOPNOTSUPP';
    return this.#givenUp > 0 ? 'ETIMEDOUT' : null;
  }

  take(header: EchoedHeader, payload: Payload | null): void {
    const op = opOf(header, this.options.terms.mediaSizeBytes);
    if (op === null) {
      this.#windowRequests += 1;
      this.counters.requests += 1;
      this.#answerShortly(header, null, 0);
      return;
    }
    const request = this.#idle.pop() ?? new ServedRequest(this.#done);
    request.begin(header, op);
    this.#windowRequests += 1;
    this.#windowBytes += request.dataBytes;
    if (payload !== null) {
      request.buffer = payload.bytes;
      request.bufferAt = payload.at;
      request.slab = payload.slab;
    } else if (request.bodyBytes > 0) this.#reserveAnswer(request);
    request.waitsSinceMs = this.options.clock.nowMs();
    if (this.#inFlight.blocks(request)) this.#parked = request;
    else this.#start(request);
  }

  refuse(header: EchoedHeader, errno: ErrnoName): void {
    this.#windowRequests += 1;
    this.counters.requests += 1;
    this.counters.errors += 1;
    this.#answerShortly(header, errno, 0);
    this.options.refused(header, errno);
  }

  /** To be called when all of a delivery has been taken: what needed no device is answered. */
  delivered(): void {
    this.#sendSoon();
  }

  disconnect(): void {
    assert(false, 'session: ggate has no goodbye');
  }

  /** To be called for each answer that Replies has sent or given up. */
  sent(count: number, requestBytes: number): void {
    this.#windowRequests -= count;
    this.#windowBytes -= requestBytes;
    assert(this.#windowRequests >= 0 && this.#windowBytes >= 0, 'session: more answers than requests');
  }

  /**
   * Tells the client of everything at the device, and of what waits for that, that it failed. The device keeps its
   * memory until it is done; nothing is started before that.
   */
  giveUp(error: DeviceError): void {
    const waiting = this.#flushes.takeWaiting().concat(this.#parked ?? []);
    this.#parked = null;
    for (const request of new Set([...this.#inFlight.all, ...this.#flushes.running])) {
      if (request.isGivenUp) continue;
      request.isGivenUp = true;
      this.#givenUp += 1;
      this.#fail(request, error);
    }
    for (const request of waiting) {
      this.#fail(request, error);
      this.#recycle(request);
    }
    this.#sendSoon();
  }

  #start(request: ServedRequest): void {
    if (request.op === 'flush') this.#flushes.add(request);
    else this.#startNow(request);
  }

  #startNow(request: ServedRequest): void {
    this.#inFlight.add(request);
    this.options.device.start(request);
  }

  #reserveAnswer(request: ServedRequest): void {
    const { memory } = this.options;
    const answerBytes = HEADER.sizeBytes + request.bodyBytes;
    const slab = memory.take(answerBytes);
    const at = slab.usedBytes - answerBytes;
    encodeAnswerHeader(slab.bytes, at, request.header, null);
    request.slab = slab;
    request.slabAt = at;
    request.buffer = slab.bytes;
    request.bufferAt = at + HEADER.sizeBytes;
  }

  readonly #done = (request: ServedRequest, outcome: DeviceError | null): void => {
    this.#inFlight.remove(request);
    if (request.op === 'flush') this.#flushes.ended(this.#flushOutcome(outcome));
    else this.#end(request, outcome);
    this.#startParked();
    this.#sendSoon();
    this.options.done();
  };

  #flushOutcome(outcome: DeviceError | null): DeviceError | null {
    const error = outcome ?? this.options.debt.pay();
    // One that no device has done loses nothing: the next good one covers it.
    if (!isFlushDenial(error)) this.flushError = error ?? this.flushError;
    // What it should have covered is still not safe.
    if (error !== null) this.isDirty = true;
    return error;
  }

  #end(request: ServedRequest, error: DeviceError | null): void {
    if (request.isGivenUp) this.#givenUp -= 1;
    else if (error === null) this.#succeed(request);
    else this.#fail(request, error);
    // Of a failed write some may be there.
    if (request.isChange) this.isDirty = true;
    this.#recycle(request);
  }

  #startParked(): void {
    const parked = this.#parked;
    if (parked === null || this.#inFlight.blocks(parked)) return;
    this.#parked = null;
    this.#start(parked);
  }

  #succeed(request: ServedRequest): void {
    const { counters } = this;
    counters.requests += 1;
    const { slab, slabAt, bodyBytes, op, lengthBytes } = request;
    if (op === 'read') counters.bytesRead += lengthBytes;
    else if (op === 'write') counters.bytesWritten += lengthBytes;
    if (bodyBytes === 0) {
      this.#answerShortly(request.header, null, request.dataBytes);
      return;
    }
    assert(slab !== null, 'session: a read without a place for its answer');
    this.options.replies.add(slab, slabAt, slabAt + HEADER.sizeBytes + bodyBytes, request.dataBytes);
    request.slab = null;
  }

  #fail(request: ServedRequest, error: DeviceError): void {
    this.counters.requests += 1;
    this.counters.errors += 1;
    const errno = this.#errnoOf(request, error);
    this.#answerShortly(request.header, errno, request.dataBytes);
    this.options.failed(error);
  }

  /** A kernel takes a disk that knows no flush for one that needs none; a client of ours knows better. */
  #errnoOf({ op }: ServedRequest, error: DeviceError): ErrnoName {
    const isOurs = this.options.terms.features.has(FEATURE.flush);
    return op === 'flush' && !isOurs && isFlushDenial(error) ? 'EIO' : error.errno;
  }

  /** The device has let go of it. Of a good read the memory went to its answer. */
  #recycle(request: ServedRequest): void {
    if (request.slab !== null) this.options.memory.give(request.slab, 1);
    request.end();
    this.#idle.push(request);
  }

  /** An answer without data, of a request that counts for `requestBytes` in the window. */
  #answerShortly(header: EchoedHeader, errno: ErrnoName | null, requestBytes: number): void {
    const { memory, replies } = this.options;
    const slab = memory.take(HEADER.sizeBytes);
    const at = slab.usedBytes - HEADER.sizeBytes;
    encodeAnswerHeader(slab.bytes, at, header, errno);
    replies.add(slab, at, at + HEADER.sizeBytes, requestBytes);
  }

  /**
   * When nothing is at the device, there is nothing to wait for. Else the answers of this turn are gathered, as far as
   * that is worth it.
   */
  #sendSoon(): void {
    const { replies, afterTurn } = this.options;
    if (this.#inFlight.count === 0 || replies.isWorthSending) replies.send();
    else if (!this.#isSendPlanned) {
      this.#isSendPlanned = true;
      afterTurn(this.#sendPlanned);
    }
  }

  readonly #sendPlanned = (): void => {
    this.#isSendPlanned = false;
    this.options.replies.send();
  };
}
