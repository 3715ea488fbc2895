import type { BlockDevice } from '../../src/device/block-device.js';
import type { Clock } from '../../src/device/clock.js';
import { NbdServer, type NbdAddress, type NbdEndpoint } from '../../src/server/nbd/nbd-server.js';
import { FakeClock } from './fake-clock.js';
import { MemoryLog } from './memory-log.js';
import { NbdClient } from './nbd-client.js';
import { makeScratch } from './scratch.js';

export interface NbdWorldOptions {
  readonly clock?: Clock;
  /** On a Unix socket in the scratch folder if left out. */
  readonly listen?: readonly NbdEndpoint[];
}

/** An NBD server and its clients, ended together. Its clock stands still unless another one is given. */
export class NbdWorld {
  readonly scratch = makeScratch();
  readonly log = new MemoryLog();
  readonly clock = new FakeClock();
  readonly unixPath = this.scratch.path('nbd.sock');
  readonly server: NbdServer;
  readonly #clients: NbdClient[] = [];
  addresses: readonly NbdAddress[] = [];

  private constructor(exports: ReadonlyMap<string, BlockDevice>, options: NbdWorldOptions) {
    this.server = new NbdServer({
      exports,
      listen: options.listen ?? [{ unixPath: this.unixPath }],
      clock: options.clock ?? this.clock,
      log: this.log,
    });
  }

  static async start(
    exports: BlockDevice | ReadonlyMap<string, BlockDevice>,
    options: NbdWorldOptions = {},
  ): Promise<NbdWorld> {
    const world = new NbdWorld('start' in exports ? new Map([['disk', exports]]) : exports, options);
    world.addresses = await world.server.start();
    return world;
  }

  /** For the tools that speak NBD. */
  get uri(): string {
    return `nbd+unix:///disk?socket=${this.unixPath}`;
  }

  get port(): number {
    const [address] = this.addresses;
    if (address === undefined || 'unixPath' in address) throw new Error('it listens on no port');
    return address.port;
  }

  /** A client that has the greeting. */
  async connect(): Promise<NbdClient> {
    const [address] = this.addresses;
    const to = address !== undefined && 'unixPath' in address ? address : { port: this.port };
    const client = await NbdClient.connect(to);
    this.#clients.push(client);
    return client;
  }

  /** A client in transmission. */
  async attach(options: { name?: string; isStructured?: boolean } = {}): Promise<NbdClient> {
    const client = await this.connect();
    await client.go(options.name ?? 'disk', { isStructured: options.isStructured ?? false });
    return client;
  }

  async end(): Promise<void> {
    for (const client of this.#clients) client.destroy();
    await this.server.close();
    this.scratch.remove();
  }
}
