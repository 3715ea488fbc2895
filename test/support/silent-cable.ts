import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';

/** Passes connections on to a port of 127.0.0.1, until it loses them without a word to either end. */
export class SilentCable {
  readonly #sockets = new Set<Socket>();
  #live = new Set<Socket>();

  private constructor(
    private readonly server: Server,
    readonly port: number,
  ) {}

  static async lay(toPort: number): Promise<SilentCable> {
    const server = createServer({ allowHalfOpen: true });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('the system gave no port');
    const cable = new SilentCable(server, address.port);
    server.on('connection', (socket) => cable.#pass(socket, toPort));
    return cable;
  }

  /** Nothing of the connections of now arrives any more, not even that an end closes. New ones work. */
  lose(): void {
    for (const socket of this.#live) socket.unpipe().resume();
    this.#live = new Set();
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
      this.#live.add(socket);
      socket.setNoDelay(true);
      socket.on('error', () => undefined /* 'close' follows */);
      socket.once('close', () => {
        this.#sockets.delete(socket);
        if (this.#live.has(socket)) for (const end of ends) end.destroy();
        this.#live.delete(socket);
      });
    }
    client.pipe(server);
    server.pipe(client);
  }
}
