import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';

/** Passes connections on to a port of 127.0.0.1, and counts what goes by. A server that is gone ends them. */
export class CountingProxy {
  /** Bytes from the clients to the server, and back. */
  readonly bytes = { up: 0, down: 0 };
  readonly #sockets = new Set<Socket>();

  private constructor(
    private readonly server: Server,
    readonly port: number,
  ) {}

  static async listen(toPort: number): Promise<CountingProxy> {
    const server = createServer({ allowHalfOpen: true });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('the system gave no port');
    const proxy = new CountingProxy(server, address.port);
    server.on('connection', (socket) => proxy.#pass(socket, toPort));
    return proxy;
  }

  reset(): void {
    this.bytes.up = 0;
    this.bytes.down = 0;
  }

  async close(): Promise<void> {
    this.server.close();
    for (const socket of this.#sockets) socket.destroy();
    await once(this.server, 'close');
  }

  #pass(client: Socket, toPort: number): void {
    const server = connect({ host: '127.0.0.1', port: toPort, allowHalfOpen: true });
    const ends = [client, server];
    for (const socket of ends) {
      this.#sockets.add(socket);
      socket.setNoDelay(true);
      socket.on('error', () => undefined /* 'close' follows */);
      socket.once('close', () => {
        this.#sockets.delete(socket);
        for (const end of ends) end.destroy();
      });
    }
    client.on('data', (chunk: Buffer) => (this.bytes.up += chunk.length));
    server.on('data', (chunk: Buffer) => (this.bytes.down += chunk.length));
    client.pipe(server);
    server.pipe(client);
  }
}
