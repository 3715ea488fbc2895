import { once } from 'node:events';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer, type TlsOptions } from 'node:tls';
import {
  CAPABILITY_PACKET,
  Features,
  capabilitiesSize,
  decodeCapabilities,
  encodeCapabilities,
  type CapabilityPacket,
} from '../../src/protocol/capabilities.js';
import { checksumRegions, checksumsBytes } from '../../src/protocol/region-checksums.js';
import {
  CLIENT_INITIAL,
  HELLO,
  VERSION_PACKET,
  decodeClientInitial,
  decodeVersion,
  encodeServerInitial,
  encodeVersion,
  type ClientInitial,
} from '../../src/protocol/handshake.js';
import { viewOf } from '../../src/protocol/integers.js';
import { COMMAND, HEADER, decodeHeader } from '../../src/protocol/request.js';
import { until } from './until.js';

/** What the server is and does; tests change it between connections. */
export interface FakeBehaviour {
  mediaSizeBytes: number;
  sectorSizeBytes: number;
  /** Null for a ggated, which answers a hello with 0. */
  hello: CapabilityPacket | null;
  /** FreeBSD errno of the initial packet, 0 to let in. */
  refusal: (initial: ClientInitial) => number;
  /** False to read requests and say nothing. */
  answers: boolean;
  /** Called instead of serving. */
  onRequest: ((request: FakeRequest, session: FakeSession) => void) | null;
  /** Bytes instead of those of the handshake; null to close instead. */
  versionAnswer: ((plain: Buffer) => Buffer | null) | null;
  initialAnswer: ((plain: Buffer) => Buffer | null) | null;
  /** As a ggated up to FreeBSD 13, which aborts the session on a FLUSH. */
  abortsOnFlush: boolean;
}

export interface FakeRequest {
  readonly seq: number;
  readonly command: number;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly header: Buffer;
  readonly data: Buffer;
}

export const serverHello = (fields: Partial<CapabilityPacket> = {}): CapabilityPacket => ({
  features: Features.all,
  instanceId: Buffer.alloc(16, 0x11),
  bootId: Buffer.alloc(16, 0xb0),
  requestBytesMax: 1_048_576,
  keepAliveMs: 0,
  requestsMax: 256,
  ...fields,
});

/** A pair of halves. Requests are served in order of arrival, from the server's memory. */
export class FakeSession {
  readonly requests: FakeRequest[] = [];
  readonly halves: { send: Socket | null; receive: Socket | null } = { send: null, receive: null };
  /** The client has closed its half properly, and no request was cut. */
  hasEnded = false;
  #rest = Buffer.alloc(0);

  constructor(
    readonly server: FakeServer,
    readonly initial: ClientInitial,
    readonly hello: CapabilityPacket | null,
  ) {}

  push(chunk: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, chunk]);
    for (;;) {
      if (this.#rest.length < HEADER.sizeBytes) return;
      const header = this.#rest.subarray(0, HEADER.sizeBytes);
      const fields = { command: 0, offsetBytes: 0, lengthBytes: 0 };
      decodeHeader(viewOf(header), 0, fields);
      const dataBytes = fields.command === COMMAND.write ? fields.lengthBytes : 0;
      if (this.#rest.length < HEADER.sizeBytes + dataBytes) return;
      const data = this.#rest.subarray(HEADER.sizeBytes, HEADER.sizeBytes + dataBytes);
      const seq = Number(header.readBigUInt64BE(HEADER.seqAt));
      this.#rest = this.#rest.subarray(HEADER.sizeBytes + dataBytes);
      const request = { seq, ...fields, header, data };
      this.requests.push(request);
      this.#take(request);
    }
  }

  get isCut(): boolean {
    return this.#rest.length > 0;
  }

  /** Does what the request says and answers it. */
  serve(request: FakeRequest): void {
    this.answer(request, { body: this.server.apply(request) });
  }

  answer(request: FakeRequest, how: { errorNumber?: number; body?: Buffer } = {}): void {
    const header = Buffer.from(request.header);
    header.writeUInt16BE(how.errorNumber ?? 0, HEADER.errorAt);
    this.send(Buffer.concat([header, how.body ?? Buffer.alloc(0)]));
  }

  /** Any bytes, on the half of the answers. */
  send(bytes: Buffer): void {
    this.halves.send?.write(bytes);
  }

  /** As when the process is killed. */
  drop(): void {
    this.halves.send?.destroy();
    this.halves.receive?.destroy();
  }

  #take(request: FakeRequest): void {
    const { behaviour } = this.server;
    if (behaviour.onRequest !== null) behaviour.onRequest(request, this);
    else if (behaviour.abortsOnFlush && request.command === COMMAND.flush) this.drop();
    else if (behaviour.answers) this.serve(request);
  }
}

/** A ggate server for tests, in this process, that does what it is told. Listens on a free port of 127.0.0.1. */
export class FakeServer {
  readonly behaviour: FakeBehaviour;
  readonly disk: Buffer;
  readonly sessions: FakeSession[] = [];
  /** Everything that was received on each connection, in order of the connections. */
  readonly received: Buffer[][] = [];
  readonly #sockets = new Set<Socket>();
  readonly #server: Server;
  readonly #halfOpen = new Map<number, FakeSession>();

  private constructor(behaviour: Partial<FakeBehaviour>, tls: TlsOptions | null) {
    this.behaviour = {
      mediaSizeBytes: 1_048_576,
      sectorSizeBytes: 512,
      hello: serverHello(),
      refusal: () => 0,
      answers: true,
      onRequest: null,
      versionAnswer: null,
      initialAnswer: null,
      abortsOnFlush: false,
      ...behaviour,
    };
    this.disk = Buffer.alloc(this.behaviour.mediaSizeBytes);
    const accept = (socket: Socket): void => this.#accept(socket);
    this.#server = tls === null ? createServer(accept) : createTlsServer(tls, accept);
    this.#server.on('connection', (socket: Socket) => this.#sockets.add(socket));
  }

  static async listen(
    behaviour: Partial<FakeBehaviour> = {},
    tls: TlsOptions | null = null,
  ): Promise<FakeServer> {
    const server = new FakeServer(behaviour, tls);
    await server.listen(0);
    return server;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Does what the request says; returns what its answer carries. */
  apply({ command, offsetBytes, lengthBytes, data }: FakeRequest): Buffer {
    const range = this.disk.subarray(offsetBytes, offsetBytes + lengthBytes);
    if (command === COMMAND.read) return Buffer.from(range);
    if (command === COMMAND.write) data.copy(range);
    if (command === COMMAND.writeZeroes || command === COMMAND.trim) range.fill(0);
    const sums = Buffer.alloc(command === COMMAND.checksum ? checksumsBytes(lengthBytes) : 0);
    if (command === COMMAND.checksum) checksumRegions(range, sums, 0);
    return sums;
  }

  /** The `index`-th session, as soon as it stands. */
  async session(index: number): Promise<FakeSession> {
    return await until(`session ${index}`, () => this.sessions[index]);
  }

  /** Again, after stop(). */
  async listen(port: number): Promise<void> {
    this.#server.listen(port, '127.0.0.1');
    await once(this.#server, 'listening');
  }

  /** No new connections; those that stand are cut. Returns the port for listen(). */
  async stop(): Promise<number> {
    const { port } = this;
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
    return port;
  }

  async close(): Promise<void> {
    if (this.#server.listening) await this.stop();
  }

  #accept(socket: Socket): void {
    this.#sockets.add(socket);
    const bytes: Buffer[] = [];
    this.received.push(bytes);
    socket.on('error', () => undefined);
    socket.on('close', () => this.#sockets.delete(socket));
    const conversation = this.#handshake(socket);
    conversation.next();
    let rest = Buffer.alloc(0);
    let wantedBytes: number = VERSION_PACKET.sizeBytes;
    let session: FakeSession | null = null;
    socket.on('data', (chunk: Buffer) => {
      bytes.push(chunk);
      if (session !== null) {
        session.push(chunk);
        return;
      }
      rest = Buffer.concat([rest, chunk]);
      try {
        while (session === null && rest.length >= wantedBytes) {
          const packet = rest.subarray(0, wantedBytes);
          rest = rest.subarray(wantedBytes);
          const step = conversation.next(packet);
          if (step.done === true) {
            if (step.value === null) return;
            session = step.value;
            if (rest.length > 0) session.push(rest);
          } else wantedBytes = step.value;
        }
      } catch {
        // As a ggated, it closes on what is no handshake.
        socket.end();
      }
    });
    socket.on('end', () => {
      if (session !== null && session.halves.receive === socket) session.hasEnded = !session.isCut;
    });
  }

  /** Yields how many bytes it waits for; gets them. Returns the session, or null when it is over. */
  *#handshake(socket: Socket): Generator<number, FakeSession | null, Buffer> {
    const { behaviour } = this;
    const isHello = decodeVersion(yield VERSION_PACKET.sizeBytes) === HELLO && behaviour.hello !== null;
    if (!reply(socket, encodeVersion(isHello ? HELLO : 0), behaviour.versionAnswer)) return null;
    const initial = decodeClientInitial(yield CLIENT_INITIAL.sizeBytes);
    let hello: CapabilityPacket | null = null;
    if (isHello) {
      const prefix = yield CAPABILITY_PACKET.prefixBytes;
      const rest = yield capabilitiesSize(prefix) - prefix.length;
      hello = decodeCapabilities(Buffer.concat([prefix, rest]));
    }
    const errorNumber = behaviour.refusal(initial);
    const answers = [encodeServerInitial({ ...this.behaviour, errorNumber })];
    if (isHello && behaviour.hello !== null && errorNumber === 0)
      answers.push(encodeCapabilities(behaviour.hello));
    const session = this.#sessionOf(initial, hello);
    session.halves[initial.half] = socket;
    if (errorNumber !== 0) this.#halfOpen.delete(initial.token);
    else if (session.halves.send !== null && session.halves.receive !== null) {
      this.#halfOpen.delete(initial.token);
      this.sessions.push(session);
    }
    if (!reply(socket, Buffer.concat(answers), behaviour.initialAnswer)) return null;
    if (errorNumber === 0) return session;
    socket.end();
    return null;
  }

  #sessionOf(initial: ClientInitial, hello: CapabilityPacket | null): FakeSession {
    const known = this.#halfOpen.get(initial.token);
    if (known !== undefined) return known;
    const session = new FakeSession(this, initial, hello);
    this.#halfOpen.set(initial.token, session);
    return session;
  }
}

function reply(socket: Socket, plain: Buffer, instead: ((plain: Buffer) => Buffer | null) | null): boolean {
  const bytes = instead === null ? plain : instead(plain);
  if (bytes === null) socket.end();
  else socket.write(bytes);
  return bytes !== null;
}
