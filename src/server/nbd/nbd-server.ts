import { once } from 'node:events';
import net, { type AddressInfo, type Socket } from 'node:net';
import { TLSSocket, type TlsOptions } from 'node:tls';
import type { Clock } from '../../device/clock.js';
import { ProtocolError, messageOf } from '../../protocol/errors.js';
import { Admission, hostKey } from '../admission.js';
import { HANDSHAKE_MS, LISTEN_BACKLOG, TCP_KEEP_ALIVE_MS } from '../limits.js';
import { ListenError, logAcceptErrors } from '../listener.js';
import { QuietLog, type ServerLog } from '../server-log.js';
import { certificateNames } from '../tls-options.js';
import { NbdConnection, type ConnectionOptions } from './connection.js';
import { LINGER_MS } from '../stream/limits.js';
import { SlabPool } from '../stream/slabs.js';
import { CLOSE_DRAIN_MS, CONNECTIONS_MAX, FAILURE_LOG_INTERVAL_MS } from './limits.js';
import { negotiate, type NbdExports, type Negotiated } from './negotiation.js';
import { SlabReads } from './slab-reads.js';
import { TlsUpgrade } from './tls-upgrade.js';
import { listenOnUnixSocket } from './unix-socket.js';

/** Where to listen. */
export type NbdEndpoint =
  /** `mode` are the socket's permissions, 0o600 if left out. */
  | { readonly unixPath: string; readonly mode?: number }
  /** Port 0 lets the system choose. With `tls`, of `loadTlsOptions`, clients have to use it. */
  | { readonly host: string; readonly port: number; readonly tls?: TlsOptions };

export type NbdAddress =
  { readonly unixPath: string } | { readonly host: string; readonly port: number; readonly isTls: boolean };

export interface NbdServerOptions {
  /**
   * Devices by the name that clients ask for. Looked at each time one does, so its owner may change it. The devices stay
   * the owner's: nothing here closes them. One that can't write is offered read-only.
   */
  readonly exports: NbdExports;
  readonly listen: readonly NbdEndpoint[];
  /** Why no client may come in now, a clause for people; null if nothing is in the way. */
  readonly obstacle?: () => string | null;
  readonly clock: Clock;
  readonly log: ServerLog;
}

/**
 * Serves block devices over NBD (fixed newstyle, structured replies), to many clients at once. What one of them sends or
 * leaves undone concerns only its own connection.
 */
export class NbdServer {
  readonly #servers: net.Server[] = [];
  readonly #connections = new Set<NbdConnection>();
  /** Ends each of those that have not negotiated yet. */
  readonly #waiting = new Set<(why: string) => void>();
  readonly #admission = new Admission();
  readonly #slabs = new SlabPool();
  readonly #strangersLog: QuietLog;
  readonly #failureLog: QuietLog;
  #closing: Promise<void> | null = null;

  constructor(private readonly options: NbdServerOptions) {
    this.#strangersLog = new QuietLog(options.log, options.clock);
    this.#failureLog = new QuietLog(options.log, options.clock, FAILURE_LOG_INTERVAL_MS);
  }

  /** Clients in transmission. */
  get connectionCount(): number {
    return this.#connections.size;
  }

  /** Resolves when clients can connect. Rejects with ListenError, listening nowhere, if one endpoint can't be had. */
  async start(): Promise<NbdAddress[]> {
    const addresses = [];
    try {
      for (const endpoint of this.options.listen) addresses.push(await this.#listen(endpoint));
      return addresses;
    } catch (error) {
      for (const server of this.#servers.splice(0)) server.close();
      throw error;
    }
  }

  /**
   * Lets nobody in any more, answers what has come, and closes. Resolves when the devices have no request of ours; after
   * ten seconds also if one still has. May be called twice.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    for (const server of this.#servers.splice(0)) server.close();
    for (const drop of [...this.#waiting]) drop('the server ends');
    const all = [...this.#connections];
    for (const connection of all) connection.drain('the server ends');
    await new Promise<void>((resolve) => {
      const timer = this.options.clock.after(CLOSE_DRAIN_MS, () => {
        for (const connection of all) connection.drop('the server ends, and its device does not answer');
        resolve();
      });
      Promise.all(all.map((connection) => connection.ended)).then(() => {
        timer.cancel();
        resolve();
      }, resolve);
    });
  }

  async #listen(endpoint: NbdEndpoint): Promise<NbdAddress> {
    if ('unixPath' in endpoint) {
      const server = this.#createServer(null);
      await listenOnUnixSocket(server, endpoint.unixPath, endpoint.mode ?? 0o600);
      this.#opened(server);
      return { unixPath: endpoint.unixPath };
    }
    const { host, port, tls } = endpoint;
    const server = this.#createServer(tls === undefined ? null : new TlsUpgrade(tls));
    try {
      server.listen({ host, port, backlog: LISTEN_BACKLOG });
      await once(server, 'listening'); // Rejects at 'error'.
    } catch (cause) {
      const why = messageOf(cause);
      throw new ListenError(`can't listen on ${host} port ${port}: ${why}`, { cause });
    }
    this.#opened(server);
    const bound = server.address() as AddressInfo;
    return { host: bound.address, port: bound.port, isTls: tls !== undefined };
  }

  #createServer(upgrade: TlsUpgrade | null): net.Server {
    const options = { noDelay: true, keepAlive: true, keepAliveInitialDelay: TCP_KEEP_ALIVE_MS };
    return net.createServer(options, (accepted) => {
      // TLS makes its own memory whatever it is received into.
      const reads = upgrade === null ? SlabReads.takeOver(accepted, this.#slabs) : null;
      const raw = reads?.socket ?? accepted;
      this.#arrived(raw, reads, upgrade).catch((error: unknown) => {
        this.options.log.error({ err: error }, 'a connection was closed because of a bug, please report it');
        raw.destroy();
      });
    });
  }

  #opened(server: net.Server): void {
    this.#servers.push(server);
    logAcceptErrors(server, this.options.log, this.options.clock);
  }

  async #arrived(raw: Socket, reads: SlabReads | null, upgrade: TlsUpgrade | null): Promise<void> {
    // A reset arrives as 'error' and then 'close'; the latter is what everyone here waits for.
    raw.on('error', () => undefined);
    if (this.#closing !== null) {
      raw.destroy();
      return;
    }
    const host = raw.remoteAddress ?? 'unix';
    const fate: { whyDropped: string | null } = { whyDropped: null };
    const drop = (why: string): void => {
      fate.whyDropped ??= why;
      raw.destroy();
    };
    const seat = this.#admission.admit(hostKey(host), drop);
    const timer = this.options.clock.after(HANDSHAKE_MS, () =>
      drop(`it did not finish its handshake in ${HANDSHAKE_MS / 1000} s`),
    );
    this.#waiting.add(drop);
    const negotiated = await this.#negotiate(raw, upgrade, drop);
    this.#waiting.delete(drop);
    timer.cancel();
    seat.leave();
    // What was no obstacle when it was asked may be one now.
    const obstacle = negotiated === null ? null : this.#obstacle();
    if (obstacle !== null) drop(obstacle);
    if (fate.whyDropped !== null) this.#tellDropped(raw, host, fate.whyDropped);
    else if (negotiated === null) this.#endPolitely(raw);
    else this.#serve({ ...negotiated, raw, reads }, host);
  }

  /** Null if the client has ended it, or was dropped. */
  async #negotiate(
    raw: Socket,
    upgrade: TlsUpgrade | null,
    drop: (why: string) => void,
  ): Promise<Negotiated | null> {
    try {
      return await negotiate({
        raw,
        exports: this.options.exports,
        secure: upgrade === null ? null : (socket) => upgrade.secure(socket),
        obstacle: () => this.#obstacle(),
      });
    } catch (error) {
      if (!(error instanceof ProtocolError || raw.destroyed)) {
        this.options.log.error({ err: error }, 'a connection was closed because of a bug, please report it');
      }
      drop(messageOf(error));
      return null;
    }
  }

  #obstacle(): string | null {
    if (this.#connections.size >= CONNECTIONS_MAX) return 'too many clients; try again later';
    return this.options.obstacle?.() ?? null;
  }

  #serve(agreed: Negotiated & Pick<ConnectionOptions, 'raw' | 'reads'>, host: string): void {
    const { clock, log } = this.options;
    const { socket } = agreed;
    const isKnown = socket instanceof TLSSocket && socket.authorized;
    const [certificate] = isKnown ? certificateNames(socket.getPeerCertificate()) : [];
    const peer = certificate === undefined ? { peer: host } : { peer: host, certificate };
    const shared = { slabs: this.#slabs, clock, log, quietLog: this.#failureLog };
    const connection = new NbdConnection({ ...agreed, ...shared, peer });
    this.#connections.add(connection);
    connection.ended.finally(() => this.#connections.delete(connection)).catch(() => undefined);
    connection.start();
  }

  /** Port scanners and health checks say nothing and go; nobody wants to read about them. */
  #tellDropped(raw: Socket, host: string, reason: string): void {
    const level = raw.bytesRead === 0 ? 'debug' : 'warn';
    this.#strangersLog.write(hostKey(host), level, { peer: host, reason }, 'NBD connection dropped');
  }

  #endPolitely(raw: Socket): void {
    raw.end();
    raw.resume();
    const timer = this.options.clock.after(LINGER_MS, () => raw.destroy());
    raw.once('close', () => timer.cancel());
  }
}
