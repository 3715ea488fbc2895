import net, { type AddressInfo, type Socket } from 'node:net';
import tls, { type TLSSocket, type TlsOptions } from 'node:tls';
import type { Clock } from '../device/clock.js';
import { assert } from '../protocol/errors.js';
import { ACCEPT_ERROR_LOG_INTERVAL_MS, LISTEN_BACKLOG, TCP_KEEP_ALIVE_MS } from './limits.js';
import { QuietLog, type ServerLog } from './server-log.js';

/** Where to listen. */
export interface ListenEndpoint {
  /**
   * 'any' is every address of this machine, IPv4 and IPv6 where it has that; 'loopback' is 127.0.0.1 and, if there is
   * one, ::1. A host may be a name.
   */
  readonly address: 'any' | 'loopback' | { readonly host: string };
  /** 0 lets the system choose. */
  readonly port: number;
  readonly isTls: boolean;
}

export interface ListeningAddress {
  readonly address: string;
  readonly port: number;
  readonly isTls: boolean;
}

/** An accepted connection. */
export interface Arrival {
  /** The TCP connection; destroying it ends everything above. It reads into its buffer up to the high-water mark. */
  readonly raw: Socket;
  readonly isTls: boolean;
  /** What ggate is spoken on: `raw` itself, or the TLS socket after its handshake. Rejects when `raw` closes before. */
  readonly secured: Promise<Socket>;
}

export interface ListenerOptions {
  readonly endpoints: readonly ListenEndpoint[];
  /** Needed if an endpoint is for TLS. */
  readonly tls: TlsOptions | null;
  /** TCP_NODELAY on every connection; ggated's -n turns it off. */
  readonly noDelay: boolean;
  readonly clock: Clock;
  readonly log: ServerLog;
  readonly arrived: (arrival: Arrival) => void;
}

/** An address that we can't listen on. The message is for the administrator; `cause` has the system's error. */
export class ListenError extends Error {
  override readonly name = 'ListenError';
  readonly code = 'LISTEN_FAILED';
}

/** The ports of a server. Failures to accept are logged and survived. */
export class Listener {
  readonly #servers: net.Server[] = [];

  constructor(private readonly options: ListenerOptions) {}

  /** Rejects with ListenError, listening nowhere, if one endpoint can't be had. */
  async start(): Promise<ListeningAddress[]> {
    const addresses = [];
    try {
      for (const endpoint of this.options.endpoints) addresses.push(...(await this.#open(endpoint)));
      return addresses;
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** For connections from now on. */
  replaceTls(options: TlsOptions): void {
    for (const server of this.#servers) if (server instanceof tls.Server) server.setSecureContext(options);
  }

  /** Accepts nothing more. Connections are left alone. May be called twice. */
  close(): void {
    for (const server of this.#servers.splice(0)) server.close();
  }

  async #open({ address, port, isTls }: ListenEndpoint): Promise<ListeningAddress[]> {
    if (address === 'any') {
      // Without IPv6 there is no '::', which takes IPv4 connections too where there is.
      const both = await this.#tryListen('::', port, isTls);
      return [both ?? (await this.#listen('0.0.0.0', port, isTls))];
    }
    if (address !== 'loopback') return [await this.#listen(address.host, port, isTls)];
    const ipv4 = await this.#listen('127.0.0.1', port, isTls);
    const ipv6 = await this.#tryListen('::1', ipv4.port, isTls, port === 0);
    return ipv6 === null ? [ipv4] : [ipv4, ipv6];
  }

  /** Null where the system has no such address; with `isOptional` also if the port is taken there. */
  async #tryListen(
    host: string,
    port: number,
    isTls: boolean,
    isOptional = false,
  ): Promise<ListeningAddress | null> {
    try {
      return await this.#listen(host, port, isTls);
    } catch (error) {
      const code = error instanceof ListenError ? (error.cause as NodeJS.ErrnoException).code : undefined;
      if (code === 'EAFNOSUPPORT' || code === 'EADDRNOTAVAIL' || isOptional) return null;
      throw error;
    }
  }

  async #listen(host: string, port: number, isTls: boolean): Promise<ListeningAddress> {
    const server = isTls ? this.#createTls() : this.#createPlain();
    await new Promise<void>((resolve, reject) => {
      server.once('listening', resolve);
      server.once('error', (cause: Error) =>
        reject(new ListenError(`can't listen on ${host} port ${port}: ${cause.message}`, { cause })),
      );
      server.listen({ host, port, backlog: LISTEN_BACKLOG });
    });
    this.#servers.push(server);
    logAcceptErrors(server, this.options.log, this.options.clock);
    const bound = server.address() as AddressInfo;
    return { address: bound.address, port: bound.port, isTls };
  }

  #createPlain(): net.Server {
    return net.createServer(this.#socketOptions(), (raw) =>
      this.options.arrived({ raw, isTls: false, secured: Promise.resolve(raw) }),
    );
  }

  #createTls(): tls.Server {
    assert(this.options.tls !== null, 'listener: a TLS port without TLS options');
    const securing = new Map<string, (secured: TLSSocket) => void>();
    const server = tls.createServer({ ...this.options.tls, ...this.#socketOptions() });
    server.on('connection', (raw: Socket) => {
      const key = connectionKey(raw);
      const secured = new Promise<Socket>((resolve, reject) => {
        securing.set(key, resolve);
        raw.once('close', () => {
          if (securing.get(key) === resolve) securing.delete(key);
          reject(new Error('the connection ended in the TLS handshake'));
        });
      });
      // An arrival that is dropped at once has nobody who waits for this.
      secured.catch(() => undefined);
      this.options.arrived({ raw, isTls: true, secured });
    });
    server.on('secureConnection', (socket) => {
      const secured = securing.get(connectionKey(socket));
      if (secured === undefined) socket.destroy();
      else secured(endingAtErrors(socket));
    });
    // Node has destroyed the socket; its end is what the arrival is told of.
    server.on('tlsClientError', () => undefined);
    return server;
  }

  #socketOptions(): net.ServerOpts {
    return {
      noDelay: this.options.noDelay,
      keepAlive: true,
      keepAliveInitialDelay: TCP_KEEP_ALIVE_MS,
    };
  }
}

/** Node tells which TLS socket is ready, but not on which connection. No two living ones have this in common. */
const connectionKey = (socket: Socket): string =>
  [socket.remoteAddress, socket.remotePort, socket.localAddress, socket.localPort].join(' ');

/**
 * Node leaves a TLS socket open on which something can't be decrypted, though nothing can come on it any more: whoever
 * waits for its 'close' would wait until the client has enough of it.
 */
export const endingAtErrors = (secured: TLSSocket): TLSSocket => secured.on('error', () => secured.destroy());

/** Without file descriptors every accept() fails; the server goes on, and the log says so once in a while. */
export function logAcceptErrors(server: net.Server, log: ServerLog, clock: Clock): void {
  const quiet = new QuietLog(log, clock, ACCEPT_ERROR_LOG_INTERVAL_MS, 1);
  server.on('error', (error) =>
    quiet.write('accept', 'error', { error: error.message }, 'a connection could not be accepted'),
  );
}
