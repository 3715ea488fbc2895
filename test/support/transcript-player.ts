import { once } from 'node:events';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import type { TranscriptChunk } from './transcripts.js';

/** Plays the server's side of a recording to a client, and keeps what the client sends. Listens on 127.0.0.1. */
export class TranscriptPlayer {
  readonly #server = createServer((socket) => this.#accept(socket));
  readonly #sockets: Socket[] = [];
  readonly #received: Buffer[] = [];
  /** For each connection, how many bytes the recording's client has sent so far. */
  readonly #expected: number[] = [];
  #next = 0;

  private constructor(private readonly chunks: readonly TranscriptChunk[]) {}

  static async listen(chunks: readonly TranscriptChunk[]): Promise<TranscriptPlayer> {
    const player = new TranscriptPlayer(chunks);
    player.#server.listen(0, '127.0.0.1');
    await once(player.#server, 'listening');
    return player;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Everything that came on the `conn`-th connection. */
  received(conn: number): Buffer {
    return this.#received[conn] ?? Buffer.alloc(0);
  }

  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #accept(socket: Socket): void {
    const conn = this.#sockets.push(socket) - 1;
    this.#received[conn] = Buffer.alloc(0);
    socket.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => {
      this.#received[conn] = Buffer.concat([this.received(conn), chunk]);
      this.#play();
    });
    this.#play();
  }

  /** A chunk of the server's is sent once the client has sent all that came before it in the recording. */
  #play(): void {
    for (; ; this.#next += 1) {
      const chunk = this.chunks[this.#next];
      // The recorded ends are the client's doing; here, too, it is the client that ends the session.
      if (chunk === undefined || (chunk.eof && chunk.from === 'client')) return;
      const { conn, from, bytes } = chunk;
      const socket = this.#sockets[conn];
      if (socket === undefined) return;
      const expected = (this.#expected[conn] ?? 0) + (from === 'client' ? bytes.length : 0);
      if (from === 'client' && this.received(conn).length < expected) return;
      this.#expected[conn] = expected;
      if (chunk.eof) socket.end();
      else if (from === 'server') socket.write(bytes);
    }
  }
}
