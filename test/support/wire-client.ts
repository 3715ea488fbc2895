import { once } from 'node:events';
import net, { type Socket } from 'node:net';
import type { ConnectionOptions } from 'node:tls';
import tls from 'node:tls';
import { encodeCapabilities, type CapabilityPacket } from '../../src/protocol/capabilities.js';
import {
  HELLO,
  SERVER_INITIAL,
  VERSION_PACKET,
  decodeServerInitial,
  encodeClientInitial,
  encodeVersion,
  type ClientInitial,
  type ServerInitial,
} from '../../src/protocol/handshake.js';
import { PATIENCE_MS } from './until.js';

/** A connection on which a test says exactly what it wants, and looks at exactly what comes back. */
export class WireClient {
  #received = Buffer.alloc(0);
  #hasEnded = false;
  #error: Error | null = null;
  #wake: () => void = () => undefined;

  private constructor(readonly socket: Socket) {
    socket.on('error', (error) => (this.#error = error));
    socket.on('data', (chunk: Buffer) => {
      this.#received = Buffer.concat([this.#received, chunk]);
      this.#wake();
    });
    for (const event of ['end', 'close']) {
      socket.on(event, () => {
        this.#hasEnded = true;
        this.#wake();
      });
    }
  }

  static async connect(options: net.TcpNetConnectOpts): Promise<WireClient> {
    const client = new WireClient(net.connect({ host: '127.0.0.1', ...options }));
    await once(client.socket, 'connect');
    return client;
  }

  /** Resolves when TLS is up on this side; a server that dislikes our certificate says so later. */
  static async connectTls(options: ConnectionOptions): Promise<WireClient> {
    const client = new WireClient(tls.connect({ host: '127.0.0.1', ...options }));
    await once(client.socket, 'secureConnect');
    return client;
  }

  get error(): Error | null {
    return this.#error;
  }

  send(...packets: readonly Buffer[]): this {
    for (const packet of packets) this.socket.write(packet);
    return this;
  }

  async read(sizeBytes: number): Promise<Buffer> {
    await this.#until(
      `${sizeBytes} bytes from the server`,
      () => this.#received.length >= sizeBytes || this.#hasEnded,
    );
    if (this.#received.length < sizeBytes) {
      throw new Error(`the server closed after ${this.#received.length} of ${sizeBytes} bytes`);
    }
    const bytes = this.#received.subarray(0, sizeBytes);
    this.#received = this.#received.subarray(sizeBytes);
    return bytes;
  }

  /** Waits for the server to close; what it sent before that and was not read yet. */
  async untilEnd(): Promise<Buffer> {
    await this.#until('the server to close', () => this.#hasEnded);
    return this.#received;
  }

  /** One at a time. */
  async #until(what: string, isSo: () => boolean): Promise<void> {
    if (isSo()) return;
    let timer;
    try {
      await new Promise<void>((resolve, reject) => {
        this.#wake = () => {
          if (isSo()) resolve();
        };
        timer = setTimeout(() => reject(new Error(`waited in vain for ${what}`)), PATIENCE_MS);
      });
    } finally {
      clearTimeout(timer);
    }
  }

  /** Whether the server has left the connection open and said nothing. */
  get isQuiet(): boolean {
    return !this.#hasEnded && this.#received.length === 0;
  }

  close(): void {
    this.socket.destroy();
  }

  /** As a ggatec does it, or with `hello` as a ggmirror: up to the point where the server has to answer. */
  async introduce(initial: ClientInitial, hello: CapabilityPacket | null = null): Promise<this> {
    this.send(encodeVersion(hello === null ? 0 : HELLO));
    await this.read(VERSION_PACKET.sizeBytes);
    this.send(encodeClientInitial(initial));
    if (hello !== null) this.send(encodeCapabilities(hello));
    return this;
  }

  async answer(): Promise<ServerInitial> {
    return decodeServerInitial(await this.read(SERVER_INITIAL.sizeBytes));
  }
}
