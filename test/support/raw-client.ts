import { connect, type Socket } from 'node:net';
import {
  type CapabilityPacket,
  encodeCapabilities,
  decodeCapabilities,
  CAPABILITY_PACKET,
} from '../../src/protocol/capabilities.js';
import {
  type AccessMode,
  type Half,
  HELLO,
  SERVER_INITIAL,
  VERSION_PACKET,
  decodeServerInitial,
  encodeClientInitial,
  encodeVersion,
} from '../../src/protocol/handshake.js';
import { HEADER } from '../../src/protocol/request.js';
import { type Reply, replies } from './requests.js';

/** Everything that a socket has received, and waits for more of it. */
export class Inbox {
  #bytes = Buffer.alloc(0);
  #isClosed = false;
  #wake: (() => void)[] = [];

  constructor(readonly socket: Socket) {
    socket.on('data', (chunk: Buffer) => {
      this.#bytes = Buffer.concat([this.#bytes, chunk]);
      this.#changed();
    });
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.#isClosed = true;
      this.#changed();
    });
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  #changed(): void {
    for (const wake of this.#wake.splice(0)) wake();
  }

  /** The next `lengthBytes` bytes; null when the connection ends before. */
  async take(lengthBytes: number): Promise<Buffer | null> {
    while (this.#bytes.length < lengthBytes) {
      if (this.#isClosed) return null;
      await new Promise<void>((resolve) => this.#wake.push(resolve));
    }
    const taken = this.#bytes.subarray(0, lengthBytes);
    this.#bytes = this.#bytes.subarray(lengthBytes);
    return taken;
  }

  async closed(): Promise<void> {
    while (!this.#isClosed) await new Promise<void>((resolve) => this.#wake.push(resolve));
  }
}

export interface RawOptions {
  readonly port: number;
  readonly path: string;
  readonly access?: AccessMode;
  readonly token?: number;
  readonly hello?: CapabilityPacket;
  /** The address to come from, of 127.0.0.0/8. */
  readonly from?: string;
}

let lastToken = 1000;

/** One half's whole handshake, byte by byte, so that tests can stop wherever they like. */
export async function openHalf(
  options: RawOptions & { token: number },
  half: Half,
): Promise<[Inbox, number]> {
  const socket = connect({ host: '127.0.0.1', port: options.port, localAddress: options.from });
  socket.setNoDelay(true);
  const inbox = new Inbox(socket);
  socket.write(encodeVersion(options.hello === undefined ? 0 : HELLO));
  if ((await inbox.take(VERSION_PACKET.sizeBytes)) === null)
    throw new Error('closed instead of a version packet');
  const { path, token, access = 'rw' } = options;
  const initial = encodeClientInitial({ path, access, half, token });
  socket.write(
    options.hello === undefined ? initial : Buffer.concat([initial, encodeCapabilities(options.hello)]),
  );
  const answer = await inbox.take(SERVER_INITIAL.sizeBytes);
  if (answer === null) throw new Error('closed instead of a server initial packet');
  const { errorNumber } = decodeServerInitial(answer);
  return [inbox, errorNumber];
}

/** A client that does nothing by itself. */
export class RawClient {
  private constructor(
    readonly send: Inbox,
    readonly receive: Inbox,
    readonly capabilities: CapabilityPacket | null,
  ) {}

  /** The errno of the refusal instead, if there is one. */
  static async attach(options: RawOptions): Promise<RawClient | number> {
    const token = options.token ?? lastToken++;
    const [send, sendError] = await openHalf({ ...options, token }, 'send');
    if (sendError !== 0) return sendError;
    if (options.hello !== undefined) await send.take(CAPABILITY_PACKET.sizeBytes);
    const [receive, receiveError] = await openHalf({ ...options, token }, 'receive');
    if (receiveError !== 0) {
      send.socket.destroy();
      return receiveError;
    }
    const packet = options.hello === undefined ? null : await receive.take(CAPABILITY_PACKET.sizeBytes);
    return new RawClient(send, receive, packet === null ? null : decodeCapabilities(packet));
  }

  static async mustAttach(options: RawOptions): Promise<RawClient> {
    const client = await RawClient.attach(options);
    if (typeof client === 'number') throw new Error(`refused with errno ${client}`);
    return client;
  }

  write(bytes: Buffer): void {
    this.receive.socket.write(bytes);
  }

  /** The next reply; null when the session is over. */
  async reply(bodyBytes?: (command: number, lengthBytes: number) => number): Promise<Reply | null> {
    const header = await this.send.take(HEADER.sizeBytes);
    if (header === null) return null;
    const measure = bodyBytes ?? ((command, lengthBytes) => (command === 0 ? lengthBytes : 0));
    const isError = header.readUInt16BE(HEADER.errorAt) !== 0;
    const size = isError ? 0 : measure(header.readUInt8(0), header.readUInt32BE(HEADER.lengthAt));
    const body = await this.send.take(size);
    if (body === null) return null;
    return replies(Buffer.concat([header, body]), () => size)[0] ?? null;
  }

  close(): void {
    this.receive.socket.destroy();
    this.send.socket.destroy();
  }
}
