import { chown, stat } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { dirname } from 'node:path';
import type { Clock } from '../device/clock.js';
import { ProtocolError, messageOf } from '../protocol/errors.js';
import { listenOnUnixSocket } from '../server/nbd/unix-socket.js';
import type { ServerLog } from '../server/server-log.js';
import { ControlError } from './control-error.js';
import { type ControlAnswer, encodeLine, LineReader } from './control-protocol.js';
import { CLOSE_MS, CONNECTIONS_MAX, IDLE_MS, REQUEST_BYTES_MAX } from './limits.js';

export interface ControlServerOptions<Request> {
  readonly path: string;
  /** `line` is without its end. Throws ProtocolError for what is no request; the connection is closed then. */
  readonly parse: (line: string) => Request;
  /** What it resolves with becomes JSON. Rejects with ControlError for what a person may ask and can't have. */
  readonly handle: (request: Request) => Promise<unknown>;
  readonly clock: Clock;
  readonly log: ServerLog;
}

/**
 * Answers administrators on a Unix socket, which only its owner and the group of its folder may use. What somebody sends
 * or leaves undone concerns only that connection.
 */
export class ControlServer<Request extends { readonly command: string }> {
  readonly #server: Server;
  readonly #connections = new Set<ControlConnection<Request>>();

  constructor(private readonly options: ControlServerOptions<Request>) {
    this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#arrived(socket));
  }

  /** Rejects with ListenError. */
  async start(): Promise<void> {
    const { path } = this.options;
    await listenOnUnixSocket(this.#server, path, 0o660);
    const folder = await stat(dirname(path));
    // Not ours to give away without being root, and then the group that it has is the right one anyway.
    await chown(path, -1, folder.gid).catch(() => undefined);
  }

  /** Answers what it was asked, for two seconds at most. */
  async close(): Promise<void> {
    this.#server.close();
    const all = [...this.#connections];
    const timer = this.options.clock.after(CLOSE_MS, () => {
      for (const connection of all) connection.drop();
    });
    await Promise.all(all.map((connection) => connection.finish()));
    timer.cancel();
  }

  #arrived(socket: Socket): void {
    socket.on('error', () => undefined /* 'close' follows */);
    if (this.#connections.size >= CONNECTIONS_MAX) {
      socket.destroy();
      return;
    }
    const connection = new ControlConnection(socket, this.options);
    this.#connections.add(connection);
    socket.once('close', () => this.#connections.delete(connection));
  }
}

class ControlConnection<Request extends { readonly command: string }> {
  readonly #reader = new LineReader(REQUEST_BYTES_MAX);
  readonly #closed: Promise<void>;
  #isBusy = false;
  #isEnding = false;
  #timer: { cancel(): void } | null = null;

  constructor(
    private readonly socket: Socket,
    private readonly options: ControlServerOptions<Request>,
  ) {
    this.#closed = new Promise((resolve) => {
      socket.once('close', () => {
        this.#timer?.cancel();
        resolve();
      });
    });
    socket.on('data', (chunk: Buffer) => this.#received(chunk));
    socket.on('end', () => this.#end());
    this.#wait();
  }

  drop(): void {
    this.socket.destroy();
  }

  async finish(): Promise<void> {
    this.#end();
    await this.#closed;
  }

  /** Ends when what was asked is answered. */
  #end(): void {
    this.#isEnding = true;
    if (this.#isBusy) return;
    this.socket.end();
    // The other side's end is of no interest any more.
    this.socket.resume();
    this.socket.once('finish', () => this.socket.destroy());
  }

  /** A client has this long to send a request, or to take its answer. */
  #wait(): void {
    this.#timer?.cancel();
    this.#timer = this.options.clock.after(IDLE_MS, () => this.drop());
  }

  #received(chunk: Buffer): void {
    if (this.#isEnding) return;
    try {
      const lines = this.#reader.push(chunk);
      if (lines.length === 0) return;
      const requests = lines.map(this.options.parse);
      // Nothing more is read until these are answered.
      this.socket.pause();
      this.#timer?.cancel();
      this.#isBusy = true;
      this.#answerAll(requests).catch((error: unknown) => {
        this.options.log.error({ err: error }, 'a control connection was closed because of a bug');
        this.drop();
      });
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.options.log.warn({ reason: error.message }, 'a control connection sent nonsense and was closed');
      this.drop();
    }
  }

  async #answerAll(requests: readonly Request[]): Promise<void> {
    for (const request of requests) {
      const answer = await this.#answer(request);
      if (this.socket.destroyed) return;
      this.socket.write(encodeLine(answer));
    }
    this.#isBusy = false;
    if (this.#isEnding) {
      this.#end();
      return;
    }
    this.#wait();
    this.socket.resume();
  }

  async #answer(request: Request): Promise<ControlAnswer> {
    try {
      return { ok: true, result: await this.options.handle(request) };
    } catch (error) {
      if (error instanceof ControlError) {
        const { message, isForceWanted } = error;
        return { ok: false, message, isForceWanted };
      }
      this.options.log.error({ err: error, command: request.command }, 'a control request failed');
      return { ok: false, message: messageOf(error), isForceWanted: false };
    }
  }
}
