import type { Socket } from 'node:net';
import type { Clock, Timer } from '../../device/clock.js';
import { ProtocolError, messageOf } from '../../protocol/errors.js';
import type { NbdErrnoName } from '../../protocol/nbd-errno.js';
import type { NbdRequestHeader } from '../../protocol/nbd-request.js';
import type { QuietLog, ServerLog } from '../server-log.js';
import { LINGER_MS } from '../stream/limits.js';
import { Replies } from '../stream/replies.js';
import { RequestReader } from '../stream/request-reader.js';
import { SlabMemory, type SlabPool } from '../stream/slabs.js';
import type { Negotiated } from './negotiation.js';
import type { SlabReads } from './slab-reads.js';
import { termsOf } from './terms.js';
import { NBD_REQUEST_FORMAT, Transmission } from './transmission.js';

export interface ConnectionOptions extends Negotiated {
  /** The connection under `socket`, the same without TLS. */
  readonly raw: Socket;
  /** Receives what comes on `socket`; null if its stream does. */
  readonly reads: SlabReads | null;
  /** Who it is, for the log. */
  readonly peer: Readonly<Record<string, unknown>>;
  readonly slabs: SlabPool;
  readonly clock: Clock;
  readonly log: ServerLog;
  /** For what a client or a device can cause without end. */
  readonly quietLog: QuietLog;
}

/**
 * A client in transmission. It ends when the client says so or goes, at garbage, or when it is told to; requests that
 * the device has by then are waited for, and answered if there is somebody left.
 */
export class NbdConnection {
  /** Resolves when the socket is closed and the device has no request of this client any more. */
  readonly ended: Promise<void>;
  readonly #startedAtMs: number;
  readonly #memory: SlabMemory;
  readonly #replies: Replies;
  readonly #reader: RequestReader<NbdRequestHeader, NbdErrnoName>;
  readonly #transmission: Transmission;
  #isReaderWaiting = false;
  /** Why it ends, once it does. */
  #ending: string | null = null;
  #linger: Timer | null = null;
  #isClosed = false;
  #resolveEnded: () => void = () => undefined;

  constructor(private readonly options: ConnectionOptions) {
    const { socket, device, info, isStructured } = options;
    this.ended = new Promise((resolve) => (this.#resolveEnded = resolve));
    this.#startedAtMs = options.clock.nowMs();
    this.#memory = new SlabMemory(options.slabs);
    this.#replies = new Replies(socket, this.#memory, (count, bytes) => this.#sent(count, bytes));
    this.#transmission = new Transmission({
      device,
      isStructured,
      terms: termsOf(device, info),
      memory: this.#memory,
      replies: this.#replies,
      events: {
        refused: (header, errno) =>
          this.#note('refused', { ...header, errno }, 'an NBD client asked for what it may not'),
        failed: (error) => this.#note('failed', { errno: error.errno }, error.message),
        disconnected: () => this.#end('the client has disconnected'),
      },
    });
    this.#reader = new RequestReader(NBD_REQUEST_FORMAT, this.#transmission, this.#memory);
  }

  start(): void {
    const { socket, raw, reads, log, isStructured } = this.options;
    log.info({ ...this.#fields(), structuredReplies: isStructured }, 'NBD client attached');
    socket.on('error', () => undefined);
    raw.once('close', () => this.#closed());
    socket.once('close', () => this.#closed());
    socket.on('end', () => this.#clientGone());
    if (reads === null) socket.on('data', (chunk: Buffer) => this.#guarded(() => this.#reader.push(chunk)));
    else
      reads.begin((bytes, startAt, endAt, slab) =>
        this.#guarded(() => this.#reader.push(bytes, startAt, endAt, slab)),
      );
    // Also of one without 'data': else its end is never told.
    if (!this.#isReaderWaiting) socket.resume();
    // The client may have gone while we were busy letting it in.
    if (socket.destroyed || raw.destroyed) this.#closed();
  }

  /** Takes no more requests, answers those that it has and closes. */
  drain(why: string): void {
    this.#end(why);
  }

  /** Closes at once. */
  drop(why: string): void {
    this.#ending ??= why;
    this.options.socket.destroy();
    this.options.raw.destroy();
  }

  #guarded(read: () => boolean): void {
    if (this.#ending !== null) return;
    const { socket, log } = this.options;
    try {
      this.#isReaderWaiting = !read();
    } catch (error) {
      if (!(error instanceof ProtocolError)) {
        log.error(
          { ...this.#fields(), err: error },
          'a connection was closed because of a bug, please report it',
        );
      }
      this.drop(messageOf(error));
      return;
    }
    if (this.#isReaderWaiting) socket.pause();
    else if (socket.isPaused()) socket.resume();
  }

  #sent(count: number, requestBytes: number): void {
    this.#transmission.sent(count, requestBytes);
    if (this.#isReaderWaiting && !this.#transmission.isFull) {
      this.#isReaderWaiting = false;
      this.#guarded(() => this.#reader.resume());
    }
    if (this.#ending !== null && this.#transmission.isIdle) this.#finish();
  }

  #clientGone(): void {
    const isWhole = this.#reader.isBetweenRequests && !this.#isReaderWaiting;
    this.#end(isWhole ? 'the client has closed the connection' : 'the client has closed within a request');
  }

  #end(why: string): void {
    if (this.#ending !== null) return;
    this.#ending = why;
    this.#reader.close();
    this.#isReaderWaiting = false;
    // What still comes is read, so that its end is seen, and forgotten.
    this.options.socket.resume();
    if (this.#transmission.isIdle) this.#finish();
  }

  /** Every request is answered. */
  #finish(): void {
    const { socket, clock } = this.options;
    if (this.#isClosed) {
      this.#resolveEnded();
      return;
    }
    if (this.#linger !== null) return;
    socket.end();
    this.#linger = clock.after(LINGER_MS, () => this.drop('the client does not close'));
  }

  #closed(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#linger?.cancel();
    this.drop('the connection was lost');
    this.#reader.close();
    this.options.reads?.close();
    this.#replies.close();
    this.#memory.close();
    const { requests, readBytes, writtenBytes, errors } = this.#transmission.stats;
    const seconds = Math.round(this.options.clock.nowMs() - this.#startedAtMs) / 1000;
    const fields = { ...this.#fields(), requests, readBytes, writtenBytes, errors, seconds };
    this.options.log.info({ ...fields, reason: this.#ending }, 'NBD client detached');
    if (this.#transmission.isIdle) this.#resolveEnded();
  }

  #note(what: string, fields: Readonly<Record<string, unknown>>, message: string): void {
    const key = `${what} ${this.options.info.name}`;
    this.options.quietLog.write(key, 'warn', { ...this.#fields(), ...fields }, message);
  }

  #fields(): Record<string, unknown> {
    return { ...this.options.peer, export: this.options.info.name };
  }
}
