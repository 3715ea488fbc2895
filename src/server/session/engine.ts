import { DeviceError } from '../../device/block-device.js';
import type { SyncDevice } from '../../device/sync-file.js';
import type { ErrnoName } from '../../protocol/errno.js';
import { assert } from '../../protocol/errors.js';
import { viewOf } from '../../protocol/integers.js';
import {
  COMMAND,
  HEADER,
  type RequestHeader,
  type SessionTerms,
  copyAsAnswer,
  decodeHeader,
  isHiddenFlush,
  refusalOf,
} from '../../protocol/request.js';
import {
  BATCH_BYTES_MAX,
  BATCH_BYTES_MIN,
  BATCH_BYTES_MIN_CROWDED,
  BATCH_REQUESTS,
  PHASE,
  type SessionMemory,
} from './memory.js';
import { type Sending, type Wire, WireBroken } from './sending.js';

/** What the engine leaves to the other thread. */
export interface EngineOutlet {
  /** A flush or another operation that takes long: that thread does and answers it. `header` is a copy. */
  slow(header: Buffer): void;
  /** A request that the peer should not have sent. It has been answered. */
  refused(request: RequestHeader, errno: ErrnoName): void;
  /** The disk failed a request. It has been answered. */
  failed(request: RequestHeader, error: DeviceError): void;
}

/**
 * Why a session is over: the client closed between two requests, within one, or was cut off; the wire broke; or the
 * watchdog said stop.
 */
export type EndReason = 'detached' | 'cut short' | 'connection lost' | 'stopped';

/** Limit on slow operations of one session that wait or run; then the session's other requests wait too. */
const SLOW_MAX = 64;

/** What is left is moved if it is at most one part in so many of what has been served. */
const LEFT_SHARE = 8;

/** A copy within shared memory takes up to eight times as long where its two ends differ in alignment modulo this. */
const COPY_ALIGNMENT = 8;

/** Answers are sent while the next ones are read from the disk from here on: requests of 32 KiB. */
const PIPELINED_BATCH_BYTES_MIN = 32_768 * BATCH_REQUESTS;

/** After so many reads the engine asks whether the processors are crowded; that costs about as much as one read. */
const READS_PER_LOOK = 256;

/** The first time earlier, for a crowd is mostly there when a session begins. */
const READS_BEFORE_FIRST_LOOK = 16;

/**
 * Serves one session: takes all that one read delivered, does each request at once, in order, and answers with as few
 * writes as possible. Synchronous on purpose: measured against an event loop with a thread pool it answers twice as
 * many small requests, and only this session waits for this session's disk (docs/performance.md).
 *
 * A write reaches the disk only when its last byte has come. Invariant: everything before `#at` is answered, handed to
 * `outlet.slow`, or in `memory.output` up to `#outEnd`; `memory` agrees whenever the phase is not `working`.
 */
export class Engine {
  #at: number;
  #have: number;
  #outEnd = 0;
  #skipBytes = 0;
  #batchBytes = BATCH_BYTES_MIN;
  #batchBytesMin = BATCH_BYTES_MIN;
  #sendBytes = BATCH_BYTES_MIN;
  /** The size of the last read or write. */
  #usualBytes = 0;
  #readsBeforeLook = READS_BEFORE_FIRST_LOOK;
  /** Requests begun since the last read. */
  #begun = 0;
  readonly #input: Buffer;
  #output: Buffer;
  readonly #inputView: DataView;
  #outputView: DataView;
  readonly #request: RequestHeader = { command: 0, offsetBytes: 0, lengthBytes: 0 };

  /** `memory.have` may already hold early bytes. The phase is `working` from now on. */
  constructor(
    private readonly memory: SessionMemory,
    private readonly wire: Pick<Wire, 'read'>,
    private readonly device: SyncDevice,
    private readonly terms: SessionTerms,
    private readonly outlet: EngineOutlet,
    private readonly crowding: { look(): boolean },
    private readonly sending: Sending,
  ) {
    this.#input = memory.input;
    this.#output = memory.output;
    this.#inputView = viewOf(memory.input);
    this.#outputView = viewOf(memory.output);
    this.#at = memory.at;
    this.#have = memory.have;
    assert(memory.move(PHASE.reading, PHASE.working), 'engine: started twice');
  }

  /** Returns when the session is over and its answers are sent. Throws only on a bug. */
  run(): EndReason {
    try {
      const reason = this.#serve();
      this.sending.settle();
      return reason;
    } catch (error) {
      if (error instanceof WireBroken) return 'connection lost';
      throw error;
    }
  }

  #serve(): EndReason {
    for (;;) {
      let needBytes = this.#serveAll();
      this.#send();
      if (this.memory.isStopping) return 'stopped';
      needBytes = this.#makeRoom(needBytes);
      const cameBytes = this.#read(needBytes);
      if (cameBytes === null) return 'stopped';
      if (cameBytes === 0) return this.#at === this.#have && this.#skipBytes === 0 ? 'detached' : 'cut short';
      this.#have += cameBytes;
    }
  }

  /** Serves every whole request in the buffer; returns how many more bytes the next one needs at least. */
  #serveAll(): number {
    for (;;) {
      if (this.#skipBytes > 0) {
        const stepBytes = Math.min(this.#skipBytes, this.#have - this.#at);
        this.#at += stepBytes;
        this.#skipBytes -= stepBytes;
        if (this.#skipBytes > 0) return 1;
      }
      const availableBytes = this.#have - this.#at;
      if (availableBytes < HEADER.sizeBytes) return HEADER.sizeBytes - availableBytes;
      this.#begun += 1;
      const request = this.#request;
      decodeHeader(this.#inputView, this.#at, request);
      const refusal = refusalOf(request, this.terms) ?? this.#hindranceOf(request);
      if (refusal !== null) this.#refuse(request, refusal);
      else if (request.command === COMMAND.write && request.lengthBytes > 0) {
        const missingBytes = HEADER.sizeBytes + request.lengthBytes - availableBytes;
        if (missingBytes > 0) return missingBytes;
        this.#write(request);
      } else if (request.command === COMMAND.read && request.lengthBytes > 0) this.#readDisk(request);
      else this.#serveOther(request);
      if (this.#outEnd >= this.#sendBytes) this.#send();
    }
  }

  /** What is late must not land on what is written now, nor may a read find the one or the other. */
  #hindranceOf({ command }: RequestHeader): ErrnoName | null {
    return this.memory.isAnyLate && command !== COMMAND.ping ? 'ETIMEDOUT' : null;
  }

  #refuse(request: RequestHeader, errno: ErrnoName): void {
    this.outlet.refused(request, errno);
    this.#answer(errno);
    this.memory.count(0, 0, 1);
    if (request.command === COMMAND.write) this.#skipBytes = request.lengthBytes;
    this.#at += HEADER.sizeBytes;
  }

  #write(request: RequestHeader): void {
    const error = this.#onDisk(request);
    if (error === 'taken over') return;
    this.memory.setDirty();
    this.memory.count(0, error === null ? request.lengthBytes : 0, error === null ? 0 : 1);
    this.#answer(this.#tell(request, error));
    this.#at += HEADER.sizeBytes + request.lengthBytes;
  }

  #readDisk(request: RequestHeader): void {
    if (this.#outEnd + HEADER.sizeBytes + request.lengthBytes > this.#output.length) this.#send();
    const error = this.#onDisk(request);
    if (error === 'taken over') return;
    this.memory.count(error === null ? request.lengthBytes : 0, 0, error === null ? 0 : 1);
    this.#answer(this.#tell(request, error));
    if (error === null) this.#outEnd += request.lengthBytes;
    this.#at += HEADER.sizeBytes;
  }

  /** One read or write, under the watchdog's eyes. Payload is used or filled where it lies in the two buffers. */
  #onDisk(request: RequestHeader): DeviceError | null | 'taken over' {
    const { memory, device } = this;
    const { lengthBytes, offsetBytes } = request;
    if (lengthBytes !== this.#usualBytes) this.#adapt(lengthBytes);
    memory.at = this.#at;
    memory.have = this.#have;
    memory.outEnd = this.#outEnd;
    let failure: DeviceError | null = null;
    memory.move(PHASE.working, PHASE.disk);
    try {
      if (request.command === COMMAND.write) {
        device.writeSync(this.#input, this.#at + HEADER.sizeBytes, lengthBytes, offsetBytes);
      } else {
        device.readSync(this.#output, this.#outEnd + HEADER.sizeBytes, lengthBytes, offsetBytes);
      }
    } catch (error) {
      if (!(error instanceof DeviceError)) throw error;
      failure = error;
    }
    if (memory.move(PHASE.disk, PHASE.working)) return failure;
    // The watchdog has answered this request and all that came after it while the disk hung.
    memory.park();
    this.#at = memory.at;
    this.#have = memory.have;
    this.#outEnd = memory.outEnd;
    this.#skipBytes = memory.skipBytes;
    return 'taken over';
  }

  #tell(request: RequestHeader, error: DeviceError | null): ErrnoName | null {
    if (error === null) return null;
    this.outlet.failed(request, error);
    return error.errno;
  }

  /** Flushes, the commands of ours, and transfers of nothing. */
  #serveOther(request: RequestHeader): void {
    const isTransfer = request.command === COMMAND.read || request.command === COMMAND.write;
    if (
      request.command === COMMAND.ping ||
      (isTransfer && !isHiddenFlush(request, this.terms.mediaSizeBytes))
    ) {
      this.#answer(null);
    } else {
      this.memory.takeSlow(SLOW_MAX);
      this.outlet.slow(Buffer.from(this.#input.subarray(this.#at, this.#at + HEADER.sizeBytes)));
    }
    this.memory.count(0, 0, 0);
    this.#at += HEADER.sizeBytes;
  }

  /** Appends the answer to the request at `#at`: its header as it came, and our error field, never the peer's. */
  #answer(errno: ErrnoName | null): void {
    if (this.#outEnd + HEADER.sizeBytes > this.#output.length) this.#send();
    copyAsAnswer(this.#inputView, this.#at, this.#outputView, this.#outEnd, errno);
    this.#outEnd += HEADER.sizeBytes;
  }

  /** How much is read and sent at once: for what this client asks, and whether another thread sends. */
  #adapt(lengthBytes: number): void {
    this.#usualBytes = lengthBytes;
    this.#batchBytes = Math.min(BATCH_BYTES_MAX, Math.max(this.#batchBytesMin, BATCH_REQUESTS * lengthBytes));
    // Half of a batch is sent while the other half is read.
    const isPipelined = this.#batchBytes >= PIPELINED_BATCH_BYTES_MIN && this.sending.isPipelined;
    this.#sendBytes = isPipelined ? Math.floor(this.#batchBytes / 2) : this.#batchBytes;
  }

  #send(): void {
    if (this.#outEnd === 0) return;
    this.sending.send(this.#outEnd, this.#begun > 1 && this.#batchBytes >= PIPELINED_BATCH_BYTES_MIN);
    this.#outEnd = 0;
    const { output } = this.memory;
    if (output === this.#output) return;
    this.#output = output;
    this.#outputView = viewOf(output);
    this.#adapt(this.#usualBytes);
  }

  /**
   * Moves what is left to the buffer's start when that is little, for there is the memory that the processor's cache
   * still has, or when the next read would not fit. Returns how much to ask for.
   */
  #makeRoom(needBytes: number): number {
    const wantBytes = Math.max(needBytes, this.#batchBytes);
    const leftBytes = this.#have - this.#at;
    if (LEFT_SHARE * leftBytes <= this.#at || this.#have + wantBytes > this.#input.length) {
      const to = this.#at % COPY_ALIGNMENT;
      if (leftBytes > 0) this.#input.copyWithin(to, this.#at, this.#have);
      this.#at = to;
      this.#have = to + leftBytes;
    }
    assert(this.#have + wantBytes <= this.#input.length, 'engine: a request larger than its buffer');
    return wantBytes;
  }

  /** Null when the watchdog has stopped the session; what came then is not looked at. */
  #read(wantBytes: number): number | null {
    const { memory } = this;
    memory.at = this.#at;
    memory.have = this.#have;
    memory.skipBytes = this.#skipBytes;
    memory.move(PHASE.working, PHASE.reading);
    let cameBytes: number;
    try {
      cameBytes = this.wire.read(this.#input, this.#have, wantBytes, this.#begun === 1);
      this.#begun = 0;
    } catch (error) {
      throw new WireBroken({ cause: error });
    }
    if (memory.move(PHASE.reading, PHASE.working)) {
      this.#readsBeforeLook -= 1;
      if (this.#readsBeforeLook === 0) this.#lookAround();
      return cameBytes;
    }
    memory.park();
    return null;
  }

  #lookAround(): void {
    this.#readsBeforeLook = READS_PER_LOOK;
    this.#batchBytesMin = this.crowding.look() ? BATCH_BYTES_MIN_CROWDED : BATCH_BYTES_MIN;
    this.#adapt(this.#usualBytes);
  }
}
