import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { Transform } from 'node:stream';
import { until } from './until.js';

type Direction = 'up' | 'down';

/** Passes connections on to a port of 127.0.0.1, and counts what goes by. A server that is gone ends them. */
export class CountingProxy {
  /** Bytes from the clients to the server, and back. */
  readonly bytes = { up: 0, down: 0 };
  readonly #sockets = new Set<Socket>();
  readonly #lost = new Set<Socket>();
  #bytesLeft = Infinity;
  #toDamage: Direction | null = null;
  #held: (() => void)[] = [];

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

  /** Lets so many bytes go by, then nothing until letGo(): who talks through it stands in the middle of its work. */
  holdAfter(bytes: number): void {
    this.#bytesLeft = bytes;
  }

  async untilHeld(): Promise<void> {
    await until('something to be held back', () => this.#held.length > 0);
  }

  letGo(): void {
    this.#bytesLeft = Infinity;
    for (const pass of this.#held.splice(0)) pass();
  }

  /** Of what next goes that way the last byte arrives as another one. */
  damageNext(direction: Direction): void {
    this.#toDamage = direction;
  }

  /** As a silent cable: of the connections of now nothing arrives any more, nor that an end closes. New ones work. */
  lose(): void {
    for (const socket of this.#sockets) {
      this.#lost.add(socket);
      socket.unpipe().resume();
    }
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
        if (!this.#lost.has(socket)) for (const end of ends) end.destroy();
      });
    }
    client.pipe(this.#gate('up')).pipe(server);
    server.pipe(this.#gate('down')).pipe(client);
  }

  #gate(direction: Direction): Transform {
    return new Transform({
      transform: (chunk: Buffer, _encoding, done) => {
        this.bytes[direction] += chunk.length;
        this.#bytesLeft -= chunk.length;
        if (this.#toDamage === direction) {
          this.#toDamage = null;
          chunk.writeUInt8(255 - chunk.readUInt8(chunk.length - 1), chunk.length - 1);
        }
        const pass = (): void => done(null, chunk);
        if (this.#bytesLeft > 0) pass();
        else this.#held.push(pass);
      },
    });
  }
}
