import { connect as systemConnect } from 'node:net';
import { systemClock, type Clock } from '../device/clock.js';
import { systemRandom, type RandomSource } from '../device/random.js';
import { Features, ID_SIZE_BYTES, type CapabilityPacket } from '../protocol/capabilities.js';
import { REQUEST_BYTES_MAX } from '../protocol/request.js';
import { formatGgateUri } from '../protocol/uri.js';
import { idText } from './commands.js';
import {
  connectSession,
  type ConnectAttempt,
  type ConnectParameters,
  type Connection,
} from './connection.js';
import { probeFlush, probedServers } from './flush-probe.js';
import { WINDOW_REQUESTS_MAX } from './limits.js';
import { requireContent } from './return-check.js';
import type { RemoteOptions, SessionInfo } from './options.js';

/** Makes the connections of one device: knows its options, and draws what is to be random. */
export class Dialer {
  readonly name: string;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly #hello: CapabilityPacket | null;
  readonly #server: string;

  constructor(readonly options: RemoteOptions) {
    const { uri, extensions = true, instanceId, window } = options;
    const { clock = systemClock, random = systemRandom } = options;
    this.name = formatGgateUri(uri);
    this.clock = clock;
    this.random = random;
    this.#server = `${uri.host}:${uri.port}`;
    this.#hello = !extensions
      ? null
      : {
          features: Features.all,
          instanceId: instanceId ?? random.nextBytes(ID_SIZE_BYTES),
          bootId: Buffer.alloc(ID_SIZE_BYTES),
          requestBytesMax: REQUEST_BYTES_MAX,
          keepAliveMs: 0,
          requestsMax: window?.requestsMax ?? WINDOW_REQUESTS_MAX,
        };
  }

  connect(): ConnectAttempt {
    return connectSession(this.#parameters());
  }

  /** The same for a device that has lost its connection: it must come back to what it was. */
  reconnect(): ConnectAttempt {
    const attempt = this.connect();
    const connected = attempt.connected.then((connection) => this.#unchanged(connection));
    return { connected, cancel: () => attempt.cancel() };
  }

  /**
   * Whether the server at the other end, which answered no hello, knows FLUSH: as remembered, or as a probe learns.
   * False without asking unless the options want it. Rejects when a probe learned nothing.
   */
  async knowsFlush(connection: Connection): Promise<boolean> {
    const { flushProbe = 'never', access } = this.options;
    if (flushProbe === 'never' || access === 'ro' || connection.terms.hello !== null) return false;
    const known = probedServers.get(this.#server);
    if (known !== null) return known;
    const learned = await probeFlush(this.#parameters());
    probedServers.set(this.#server, learned);
    return learned;
  }

  /** After a connection was lost: another program may listen there by now. */
  forgetServer(): void {
    probedServers.forget(this.#server);
  }

  describe({ terms: { hello }, address }: Connection): SessionInfo {
    return {
      mode: this.options.access,
      isGgmirror: hello !== null,
      extensions: hello?.features.names() ?? [],
      instanceId: idText(hello, 'instanceId'),
      bootId: idText(hello, 'bootId'),
      address,
    };
  }

  async #unchanged(connection: Connection): Promise<Connection> {
    const check = this.options.returnCheck?.() ?? null;
    if (check === null) return connection;
    try {
      await requireContent(this.#parameters(), check);
      return connection;
    } catch (error) {
      connection.reset();
      throw error;
    }
  }

  #parameters(): ConnectParameters {
    const { uri, access, tls, connectTimeoutMs = 10_000, connectTcp = systemConnect } = this.options;
    return {
      name: this.name,
      uri,
      access,
      token: this.random.nextU32(),
      hello: this.#hello,
      tls,
      connectTcp,
      timeoutMs: connectTimeoutMs,
      clock: this.clock,
    };
  }
}
