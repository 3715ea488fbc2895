import { openRemote, type RemoteDevice } from '../../src/client/remote-device.js';
import type { RemoteOptions } from '../../src/client/options.js';
import { FakeServer, type FakeBehaviour } from './fake-server.js';

/** Servers and devices of one test, ended together. */
export class RemoteWorld {
  readonly #servers: FakeServer[] = [];
  readonly #devices: RemoteDevice[] = [];

  async server(behaviour: Partial<FakeBehaviour> = {}): Promise<FakeServer> {
    const server = await FakeServer.listen(behaviour);
    this.#servers.push(server);
    return server;
  }

  async open(server: FakeServer, options: Partial<RemoteOptions> = {}): Promise<RemoteDevice> {
    const device = await openRemote({ ...remoteOptions(server), ...options });
    this.#devices.push(device);
    return device;
  }

  /** The servers first: a device of a server that is gone waits for nothing that could still come. */
  async end(): Promise<void> {
    for (const server of this.#servers) {
      server.behaviour.answers = true;
      server.behaviour.onRequest = null;
    }
    const closed = Promise.all(this.#devices.map((device) => device.close()));
    for (const server of this.#servers) await server.close();
    await closed;
  }
}

export const remoteOptions = (server: FakeServer): RemoteOptions => ({
  uri: { host: '127.0.0.1', port: server.port, path: '/disk.img', isTls: false },
  access: 'rw',
  backoff: { firstMs: 5, maxMs: 50 },
});
