import type { TlsOptions } from 'node:tls';
import type { Clock } from '../device/clock.js';
import type { ExportList } from './access.js';
import { Admission } from './admission.js';
import { GuardedProbe, type ProbeMedia } from './guarded-probe.js';
import type { SessionHost } from './halves.js';
import { PENDING_HALF_MS } from './limits.js';
import { Listener, type ListenEndpoint, type ListeningAddress } from './listener.js';
import { Newcomer, type FrontDoor, type SeatedHalf } from './newcomer.js';
import { PendingHalves } from './pending-halves.js';
import type { ServerIdentity } from './server-identity.js';
import { QuietLog, type ServerLog } from './server-log.js';

export interface GgateServerOptions {
  readonly endpoints: readonly ListenEndpoint[];
  readonly exports: ExportList;
  readonly sessions: SessionHost;
  readonly probeMedia: ProbeMedia;
  readonly identity: ServerIdentity;
  readonly clock: Clock;
  readonly log: ServerLog;
  /** Of `loadTlsOptions`; needed if an endpoint is for TLS. */
  readonly tls?: TlsOptions | null;
  /** TCP_NODELAY on every connection; true if not given. */
  readonly noDelay?: boolean;
}

/** The front of a ggate server: lets clients in, pairs their connections and hands them to the sessions. */
export class GgateServer {
  readonly #listener: Listener;
  readonly #admission = new Admission();
  #exports: ExportList;

  constructor(options: GgateServerOptions) {
    const { clock, log, sessions, identity } = options;
    this.#exports = options.exports;
    const door: FrontDoor = {
      clock,
      log,
      sessions,
      identity,
      quietLog: new QuietLog(log, clock),
      admission: this.#admission,
      pending: new PendingHalves<SeatedHalf>(clock, (half) =>
        half.drop(`its other half did not come in ${PENDING_HALF_MS / 1000} s`),
      ),
      probe: new GuardedProbe(options.probeMedia, clock),
      exports: () => this.#exports,
    };
    this.#listener = new Listener({
      endpoints: options.endpoints,
      tls: options.tls ?? null,
      noDelay: options.noDelay ?? true,
      clock,
      log,
      arrived: (arrival) => Newcomer.receive(arrival, door),
    });
  }

  /** Connections that have no session yet. */
  get pendingCount(): number {
    return this.#admission.count;
  }

  /** Resolves when clients can connect. Rejects with ListenError if an endpoint can't be had. */
  start(): Promise<ListeningAddress[]> {
    return this.#listener.start();
  }

  /** For every handshake that is not finished yet, and all later ones. Running sessions keep what they have. */
  reload(exports: ExportList): void {
    this.#exports = exports;
  }

  /** New certificates, for connections from now on. */
  reloadTls(options: TlsOptions): void {
    this.#listener.replaceTls(options);
  }

  /** Lets nobody in any more and drops who has no session yet. Sessions go on. May be called twice. */
  close(): void {
    this.#listener.close();
    this.#admission.dropAll('the server ends');
  }
}
