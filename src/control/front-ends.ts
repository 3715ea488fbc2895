import type { TlsOptions } from 'node:tls';
import type { BlockDevice } from '../device/block-device.js';
import type { Clock } from '../device/clock.js';
import type { RandomSource } from '../device/random.js';
import { ID_SIZE_BYTES } from '../protocol/capabilities.js';
import type { ExportList } from '../server/access.js';
import { deviceProbe, DeviceSessions } from '../server/device-session/device-sessions.js';
import type { DeviceSessionStatus } from '../server/device-session/running-device-session.js';
import { GgateServer } from '../server/ggate-server.js';
import type { ListenEndpoint, ListeningAddress } from '../server/listener.js';
import { type NbdAddress, type NbdEndpoint, NbdServer } from '../server/nbd/nbd-server.js';
import { createServerIdentity } from '../server/server-identity.js';
import type { ServerLog } from '../server/server-log.js';
import { GGATE_DRAIN_MS } from './limits.js';

/** Who may reach a mirror over ggate, and where. */
export interface GgateFrontOptions {
  readonly endpoints: readonly ListenEndpoint[];
  /** Of the path that `ggatePath` says. */
  readonly exports: ExportList;
  /** Needed if an endpoint is for TLS. */
  readonly tls: TlsOptions | null;
}

export interface FrontEndsOptions {
  /** Without 'mirror/'. */
  readonly name: string;
  /** Stays the caller's. */
  readonly device: BlockDevice;
  readonly nbd: readonly NbdEndpoint[];
  /** Null for none. */
  readonly ggate: GgateFrontOptions | null;
  /** What the device has for this long fails, for ggate clients. */
  readonly deviceTimeoutMs: number;
  readonly pid: number;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly log: ServerLog;
}

/** The ggate side of a mirror, as `ggmirror status --json` prints it. */
export interface GgateStatus {
  readonly path: string;
  readonly addresses: readonly ListeningAddress[];
  readonly sessions: readonly DeviceSessionStatus[];
}

/** The path under which ggate clients find a mirror: where the kernel's mirror has its device. */
export const ggatePath = (name: string): string => `/dev/mirror/${name}`;

/**
 * Where the clients of a mirror come in: NBD, and ggate if that is wanted. A file system stands one writer, so who writes
 * over ggate is alone: neither a second ggate client that may write gets in, nor an NBD client, nor the other way round.
 * NBD connections among themselves are not told apart, for one client has several.
 */
export class FrontEnds {
  readonly #nbd: NbdServer;
  readonly #ggate: { readonly server: GgateServer; readonly sessions: DeviceSessions } | null;
  readonly #path: string;
  #nbdAddresses: readonly NbdAddress[] = [];
  #ggateAddresses: readonly ListeningAddress[] = [];

  constructor(options: FrontEndsOptions) {
    const { name, device, clock, log } = options;
    this.#path = ggatePath(name);
    this.#nbd = new NbdServer({
      exports: new Map([
        ['', device],
        [name, device],
      ]),
      listen: options.nbd,
      obstacle: () => (this.#hasGgateWriter ? 'a ggate client may write to it' : null),
      clock,
      log,
    });
    this.#ggate = options.ggate === null ? null : this.#createGgate(options, options.ggate);
  }

  /** Resolves when clients can connect. Rejects with ListenError; everything is closed again then. */
  async start(): Promise<void> {
    try {
      this.#nbdAddresses = await this.#nbd.start();
      if (this.#ggate !== null) this.#ggateAddresses = await this.#ggate.server.start();
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  /** Clients that are served now. */
  get clientCount(): number {
    return this.#nbd.connectionCount + (this.#ggate?.sessions.sessions.length ?? 0);
  }

  get nbdAddresses(): readonly NbdAddress[] {
    return this.#nbdAddresses;
  }

  get ggateStatus(): GgateStatus | null {
    if (this.#ggate === null) return null;
    const sessions = this.#ggate.sessions.sessions.map((session) => session.status());
    return { path: this.#path, addresses: this.#ggateAddresses, sessions };
  }

  /** Lets nobody in any more, answers what has come and closes. Resolves when the device has nothing of ours. */
  async close(): Promise<void> {
    this.#ggate?.server.close();
    await Promise.all([this.#nbd.close(), this.#ggate?.sessions.drain(GGATE_DRAIN_MS)]);
  }

  get #hasGgateWriter(): boolean {
    return this.#ggate?.sessions.sessions.some(({ request }) => request.access !== 'ro') === true;
  }

  #createGgate(
    options: FrontEndsOptions,
    { endpoints, exports, tls }: GgateFrontOptions,
  ): { readonly server: GgateServer; readonly sessions: DeviceSessions } {
    const { device, deviceTimeoutMs, pid, clock, random, log } = options;
    const devices = new Map([[this.#path, device]]);
    const sessions = new DeviceSessions({
      ...{ devices, deviceTimeoutMs, pid, clock, log },
      obstacleTo: ({ access }) => (access !== 'ro' && this.#nbd.connectionCount > 0 ? 'EBUSY' : null),
    });
    // Whoever comes back after a restart must not count on writes that were not flushed: they may be on one component
    // only, whose own host has restarted. So each start says that it is another boot.
    const identity = createServerIdentity(random, random.nextBytes(ID_SIZE_BYTES));
    const probeMedia = deviceProbe(devices);
    return {
      sessions,
      server: new GgateServer({ endpoints, exports, sessions, probeMedia, identity, clock, log, tls }),
    };
  }
}
