import { isIP, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { dropUnsentAtClose } from '../device/platform/sockets.js';
import type { ClientTls, ConnectTcp } from './options.js';
import { TCP_KEEP_ALIVE_MS } from './limits.js';

/** Where one of the two connections leads. */
export interface HalfTarget {
  readonly connect: ConnectTcp;
  /** Name or address; a name is resolved at each connect. */
  readonly host: string;
  readonly port: number;
  /** Null for plain TCP. `identity` is the name that the certificate must have. */
  readonly tls: (ClientTls & { readonly identity: string }) | null;
}

/** Who takes what a connection delivers. */
export interface ByteSink {
  /** The first `length` bytes of `bytes` are new; they are gone when the call returns. */
  bytes(bytes: Buffer, length: number): void;
  /** Once, after which nothing comes any more; null for a proper end. */
  closed(error: Error | null): void;
}

const deafSink: ByteSink = { bytes: () => undefined, closed: () => undefined };

/**
 * One TCP or TLS connection, with one reader that may be exchanged. Plain TCP is read into one buffer that lives as
 * long as the connection; TLS brings memory of its own.
 */
export class HalfSocket {
  sink: ByteSink = deafSink;
  readonly opened: Promise<void>;
  readonly isTls: boolean;
  readonly #tcp: Socket;
  readonly #stream: Socket;
  #isOver = false;
  #isEnding = false;
  #error: Error | null = null;

  constructor(target: HalfTarget, receiveBufferBytes: number) {
    this.isTls = target.tls !== null;
    this.#tcp =
      target.tls === null ? this.#plain(target, receiveBufferBytes) : target.connect(tcpOptions(target));
    this.#stream = target.tls === null ? this.#tcp : this.#secured(this.#tcp, target.tls);
    this.opened = new Promise((resolve, reject) => {
      this.#stream.once(this.isTls ? 'secureConnect' : 'connect', resolve);
      this.#stream.once('close', () =>
        reject(this.#error ?? new Error('the connection was closed while it was being made')),
      );
    });
    // Who waits for it hears of a failure; nobody has to.
    this.opened.catch(() => undefined);
    this.#listen();
  }

  /** Numeric address of the peer, '' when not connected. */
  get address(): string {
    return this.#tcp.remoteAddress ?? '';
  }

  /**
   * Sends the parts, in order, with one call to the kernel where it takes them. They are lent until `sent` is called
   * (with TLS longer than necessary); it is not called when the connection ends before.
   */
  write(parts: readonly Buffer[], sent: () => void): void {
    const last = parts.length - 1;
    const whenSent = (error?: Error | null): void => {
      if (error === undefined || error === null) sent();
    };
    if (last > 0) this.#stream.cork();
    parts.forEach((part, index) => {
      if (index === last) this.#stream.write(part, whenSent);
      else this.#stream.write(part);
    });
    if (last > 0) this.#stream.uncork();
  }

  /**
   * Ends the connection at once and drops what the kernel has not sent. A mere close would leave it to the kernel, and
   * a write could reach the disk after the next connection has replayed it and newer ones.
   */
  reset(): void {
    this.sink = deafSink;
    this.#isOver = true;
    if (!this.#tcp.destroyed && !this.#tcp.connecting) this.#tcp.resetAndDestroy();
    this.#stream.destroy();
    this.#tcp.destroy();
  }

  /**
   * Once it is open: should this process be killed, the kernel is to drop what it has not sent. It would go on trying for
   * minutes, and a write could reach the disk after the next process has written there.
   */
  dropUnsentAtDeath(): void {
    // Node knows the descriptor, and has no name for it; a simulated connection has none.
    const { _handle: handle }: { _handle?: { fd?: unknown } | null } = this.#tcp as object;
    const fd = handle?.fd;
    if (typeof fd !== 'number' || fd < 0) return;
    try {
      dropUnsentAtClose(fd);
    } catch {
      // It is gone already.
    }
  }

  /** Says that nothing more will come; resolves when the peer has closed, too. */
  end(): Promise<void> {
    this.sink = deafSink;
    this.#isEnding = true;
    if (this.#stream.closed) return Promise.resolve();
    return new Promise((resolve) => {
      this.#stream.once('close', () => resolve());
      this.#stream.end();
    });
  }

  #plain(target: HalfTarget, receiveBufferBytes: number): Socket {
    const buffer = Buffer.allocUnsafeSlow(receiveBufferBytes);
    const callback = (length: number): boolean => {
      this.sink.bytes(buffer, length);
      return true;
    };
    return target.connect({ ...tcpOptions(target), onread: { buffer, callback } });
  }

  #secured(tcp: Socket, tls: ClientTls & { readonly identity: string }): Socket {
    const { identity, ca, cert, key } = tls;
    const stream = connectTls({
      socket: tcp,
      host: identity,
      // An address can't be a server name indication; the certificate is held against `host` then.
      ...(isIP(identity) === 0 && { servername: identity }),
      ...(ca !== undefined && { ca }),
      ...(cert !== undefined && { cert }),
      ...(key !== undefined && { key }),
      minVersion: 'TLSv1.2',
    });
    stream.on('data', (chunk: Buffer) => this.sink.bytes(chunk, chunk.length));
    // Without a listener an error of the inner socket would end the process; the TLS socket hears of it, too.
    tcp.on('error', (error) => stream.destroy(error));
    return stream;
  }

  #listen(): void {
    this.#stream.on('error', (error: Error) => {
      this.#error = error;
      // Node leaves a TLS socket open on which something can't be decrypted, though nothing can come on it any more.
      this.#stream.destroy();
    });
    this.#stream.on('end', () => {
      this.#over();
      if (!this.#isEnding) this.reset();
    });
    this.#stream.on('close', () => this.#over());
  }

  #over(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.sink.closed(this.#error);
  }
}

function tcpOptions(target: HalfTarget) {
  return {
    host: target.host,
    port: target.port,
    // Else the peer's end is answered with one of ours by itself, and a socket that has said so can't be reset: Node fails
    // to, and leaves it open for as long as the process lives, with what it has not sent. A TLS socket takes it over.
    allowHalfOpen: true,
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: TCP_KEEP_ALIVE_MS,
  };
}
