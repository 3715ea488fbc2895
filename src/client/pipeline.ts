import { DeviceError, type BlockIo } from '../device/block-device.js';
import { fromWireErrno } from '../protocol/errno.js';
import { assert } from '../protocol/errors.js';
import { COMMAND } from '../protocol/request.js';
import { COMMANDS, answerBytes } from './commands.js';
import { Completions } from './completions.js';
import { Durability } from './durability.js';
import { InFlightTable, type Waiter, type WireRequest } from './in-flight.js';
import { IoQueue } from './io-queue.js';
import { ReplyParser, type ReplySink } from './reply-parser.js';
import { RequestWriter, type PartWriter } from './request-writer.js';
import { SilenceWatch, type SilenceSettings } from './silence-watch.js';

/** What the pipeline needs of a connection. */
export interface PipelineConnection extends PartWriter {
  readonly copiesWrites: boolean;
}

export interface PipelineSettings extends SilenceSettings {
  readonly mediaSizeBytes: number;
  readonly requestsMax: number;
  readonly bytesMax: number;
}

export interface PipelineOwner {
  /** The connection is of no more use: its bytes broke the protocol, or it was silent for too long. */
  broken(error: Error): void;
  /** The first answer of this connection, or nothing to be answered when it was attached. */
  progressed(): void;
  /** Nothing waits any more. */
  idle(): void;
}

export interface RemoteStats {
  requests: number;
  readBytes: number;
  writtenBytes: number;
  /** Requests that the server answered with an errno. */
  errors: number;
  /** Requests sent again on a later connection. */
  replayed: number;
}

/**
 * The data path: numbers requests, keeps the window, sends what one turn of the event loop started with one write,
 * matches answers by number. It outlives connections: what is unanswered when one ends is sent again, in order and with
 * the same numbers, ahead of everything newer, unless its owner takes it out. No promise and no closure a request.
 */
export class Pipeline implements ReplySink {
  readonly stats: RemoteStats = { requests: 0, readBytes: 0, writtenBytes: 0, errors: 0, replayed: 0 };
  readonly durability = new Durability();
  readonly #table: InFlightTable;
  readonly #queue = new IoQueue();
  readonly #completions = new Completions(() => {
    if (this.isIdle) this.owner.idle();
  });
  readonly #pumpLater = (): void => this.#pump();
  #connection: PipelineConnection | null = null;
  #parser: ReplyParser | null = null;
  #writer: RequestWriter | null = null;
  #requestsMax: number;
  /** All requests below this number have been sent on the present connection. */
  #sendSeq = 1;
  #earlyAnswers = 0;
  #isPumpDue = false;
  #hasProgressed = false;
  #lastSentMs = 0;
  readonly #watch: SilenceWatch;

  constructor(
    private readonly settings: PipelineSettings,
    private readonly owner: PipelineOwner,
  ) {
    this.#requestsMax = settings.requestsMax;
    this.#table = new InFlightTable(Math.max(1024, settings.requestsMax * 4));
    this.#watch = new SilenceWatch(
      settings,
      () => this.#connection !== null && this.#table.count > 0,
      (error) => owner.broken(error),
    );
  }

  get isIdle(): boolean {
    return this.#table.count === 0 && this.#queue.length === 0 && this.#completions.isEmpty;
  }

  /** Of the clock; when something was last sent. */
  get lastSentMs(): number {
    return this.#lastSentMs;
  }

  /** Queues a request that is well formed and not too long. Without a connection it waits for one. */
  start(io: BlockIo): void {
    this.#queue.push(io);
    this.#schedule();
  }

  /**
   * Sends an empty request at once, past the window: a ping must not wait behind what it is to look after. It is never
   * replayed. Returns false when there is no connection or no number left.
   */
  startEmpty(command: number, offsetBytes: number, waiter: Waiter): boolean {
    if (this.#connection === null || this.#table.isFull) return false;
    const request = this.#add(0);
    request.command = command;
    request.offsetBytes = offsetBytes;
    request.lengthBytes = 0;
    request.answerBytes = 0;
    request.coveredWrites = 0;
    request.waiter = waiter;
    request.isReplayed = false;
    this.#schedule();
    return true;
  }

  /** Uses the connection from now on; everything that is unanswered goes out on it first. */
  attach(connection: PipelineConnection, peerRequestsMax: number): void {
    this.#connection = connection;
    this.#requestsMax = Math.min(this.settings.requestsMax, peerRequestsMax);
    this.#parser = new ReplyParser(this);
    this.#writer = new RequestWriter(connection, () => this.#handedOver(connection));
    this.#sendSeq = this.#table.oldestSeq;
    this.#watch.restart();
    this.#lastSentMs = this.settings.clock.nowMs();
    this.#hasProgressed = this.isIdle;
    if (this.#hasProgressed) this.owner.progressed();
    this.#schedule();
  }

  /** The connection is gone, and no buffer is lent to it any more. Empty requests end with `error`. */
  detach(error: DeviceError): void {
    this.#connection = null;
    this.#earlyAnswers = 0;
    this.#parser = null;
    this.#writer = null;
    this.#watch.stop();
    for (const request of this.#table.all()) {
      const { earlyErrorNumber } = request;
      // A success may have come for a payload that was not sent whole; sending it again does no harm.
      request.earlyErrorNumber = null;
      if (earlyErrorNumber !== null && earlyErrorNumber !== 0) this.#finish(request, earlyErrorNumber);
      else if (!request.isReplayed) this.#completions.add(this.#table.remove(request), error);
    }
    this.#completions.deliverLater();
  }

  /** Ends what waits and whose command matches; how many. Only between detach() and attach(). */
  fail(error: DeviceError, matches: (command: number) => boolean): number {
    assert(this.#connection === null, 'pipeline: fail() while answers may come');
    const waiters: Waiter[] = this.#table
      .all()
      .filter((request) => matches(request.command))
      .map((request) => this.#table.remove(request));
    waiters.push(...this.#queue.takeWhere((io) => matches(COMMANDS[io.op].command)));
    for (const waiter of waiters) this.#completions.add(waiter, error);
    this.#completions.deliverLater();
    return waiters.length;
  }

  /** Ends a request that was never started, soon. */
  refuse(waiter: Waiter, error: DeviceError): void {
    this.#completions.add(waiter, error);
    this.#completions.deliverLater();
  }

  /** What the connection received. */
  answers(bytes: Buffer, length: number): void {
    const oldestSeq = this.#table.oldestSeq;
    let fault: Error | null = null;
    try {
      this.#parser?.push(bytes, length);
    } catch (error) {
      fault = error instanceof Error ? error : new Error(String(error));
    }
    if (this.#table.oldestSeq !== oldestSeq) {
      this.#watch.restart();
      if (!this.#hasProgressed) {
        this.#hasProgressed = true;
        this.owner.progressed();
      }
    }
    const connection = this.#connection;
    if (this.#queue.length > 0) this.#schedule();
    this.#completions.deliver();
    if (fault !== null && connection !== null && connection === this.#connection) this.owner.broken(fault);
  }

  /** Of ReplySink: a second answer to one request finds nothing. */
  find(seq: number): WireRequest | null {
    const request = seq < this.#sendSeq ? this.#table.find(seq) : null;
    return request !== null && request.earlyErrorNumber === null ? request : null;
  }

  /** Of ReplySink. */
  answered(request: WireRequest, errorNumber: number): void {
    const isLent =
      request.command === COMMAND.write &&
      this.#connection?.copiesWrites === false &&
      request.seq > (this.#writer?.handedOverSeq ?? 0);
    if (!isLent) {
      this.#finish(request, errorNumber);
      return;
    }
    // The kernel tells of a long write when all of it is taken, and often later than the server, which by then may have
    // answered the first requests in it.
    request.earlyErrorNumber = errorNumber;
    this.#earlyAnswers += 1;
  }

  #schedule(): void {
    if (this.#isPumpDue || this.#connection === null) return;
    this.#isPumpDue = true;
    queueMicrotask(this.#pumpLater);
  }

  #pump(): void {
    this.#isPumpDue = false;
    const writer = this.#writer;
    if (writer === null) return;
    const table = this.#table;
    const firstSeq = this.#sendSeq;
    // All of them at once: they fitted the window before, and a server that has enough stops reading.
    for (; this.#sendSeq < table.nextSeq; this.#sendSeq += 1) {
      const request = table.find(this.#sendSeq);
      if (request === null) continue;
      if (request.wasSent) this.stats.replayed += 1;
      request.wasSent = true;
      writer.add(request);
    }
    while (table.count < this.#requestsMax && table.bytes < this.settings.bytesMax && !table.isFull) {
      const io = this.#queue.shift();
      if (io === undefined) break;
      const request = this.#admit(io);
      request.wasSent = true;
      writer.add(request);
      this.#sendSeq = table.nextSeq;
    }
    if (this.#sendSeq === firstSeq) return;
    this.#lastSentMs = this.settings.clock.nowMs();
    writer.flush();
    this.#watch.begin();
  }

  #add(bytes: number): WireRequest {
    if (this.#table.count === 0) this.#watch.restart();
    return this.#table.add(bytes);
  }

  #admit(io: BlockIo): WireRequest {
    const { command } = COMMANDS[io.op];
    const answer = answerBytes(io.op, io.lengthBytes);
    const request = this.#add(command === COMMAND.write ? io.lengthBytes : answer);
    request.command = command;
    // The kernel's flush requests sit at the end of the medium, and so do ggatec's (ggate protocol spec, section 5).
    request.offsetBytes = io.op === 'flush' ? this.settings.mediaSizeBytes : io.offsetBytes;
    request.lengthBytes = io.lengthBytes;
    request.buffer = io.buffer;
    request.bufferAt = io.bufferAt;
    request.answerBytes = answer;
    request.waiter = io;
    request.isReplayed = true;
    request.coveredWrites = this.durability.acknowledgedWrites;
    return request;
  }

  #finish(request: WireRequest, errorNumber: number): void {
    const { stats } = this;
    stats.requests += 1;
    let error: DeviceError | null = null;
    if (errorNumber !== 0) {
      stats.errors += 1;
      error = this.#answerError(request, errorNumber);
      if (request.command === COMMAND.flush) this.#flushFailed(error);
    } else if (request.doom !== null) error = request.doom;
    else if (request.command === COMMAND.write) {
      stats.writtenBytes += request.lengthBytes;
      this.durability.acknowledged();
    } else if (request.command === COMMAND.read) stats.readBytes += request.lengthBytes;
    else if (request.command === COMMAND.flush) this.durability.flushed(request.coveredWrites);
    else if (WRITE_COMMANDS.has(request.command)) this.durability.acknowledged();
    this.#completions.add(this.#table.remove(request), error);
  }

  /**
   * Who asked for another flush before this was known may count on what this one should have written, and that one may
   * succeed without: servers tell of such a loss once.
   */
  #flushFailed(error: DeviceError): void {
    for (const request of this.#table.all()) if (request.command === COMMAND.flush) request.doom ??= error;
    for (const io of this.#queue.takeWhere(({ op }) => op === 'flush')) this.#completions.add(io, error);
  }

  #answerError({ command, offsetBytes, lengthBytes }: WireRequest, errorNumber: number): DeviceError {
    const errno = fromWireErrno(errorNumber);
    const what = COMMAND_NAMES.get(command) ?? `command ${command}`;
    const where = `${what} of ${lengthBytes} bytes at ${offsetBytes}`;
    return new DeviceError(
      'DEVICE_IO',
      errno,
      `${this.settings.name}: the server answers ${where} with ${errno} (${errorNumber}); see its log`,
    );
  }

  /** Payloads of requests that were answered early are no longer lent. */
  #handedOver(connection: PipelineConnection): void {
    if (connection !== this.#connection || this.#earlyAnswers === 0) return;
    const handedOverSeq = this.#writer?.handedOverSeq ?? 0;
    for (const request of this.#table.all()) {
      if (request.earlyErrorNumber === null || request.seq > handedOverSeq) continue;
      this.#earlyAnswers -= 1;
      this.#finish(request, request.earlyErrorNumber);
    }
    if (this.#queue.length > 0) this.#schedule();
    this.#completions.deliver();
  }
}

const WRITE_COMMANDS: ReadonlySet<number> = new Set(
  Object.values(COMMANDS)
    .filter(({ isWrite }) => isWrite)
    .map(({ command }) => command),
);

const COMMAND_NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(COMMAND).map(([name, command]) => [command, name]),
);
