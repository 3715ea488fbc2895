import { connect, type Socket } from 'node:net';
import { NBD_COMMAND, NBD_OPTION, NBD_OPTION_REPLY } from '../../src/protocol/nbd.js';
import { NBD_REQUEST, encodeNbdRequest } from '../../src/protocol/nbd-request.js';
import { Inbox } from './raw-client.js';

export interface OptionReply {
  readonly option: number;
  readonly reply: number;
  readonly data: Buffer;
}

export interface ServerReply {
  readonly kind: 'simple' | 'chunk';
  readonly cookie: number;
  /** NBD's number; 0 for success. */
  readonly errno: number;
  /** Of an error chunk. */
  readonly text: string;
  /** Of a read. */
  readonly data: Buffer;
  /** Of a read's chunk. */
  readonly offsetBytes: number | null;
}

export interface GoneInto {
  readonly mediaSizeBytes: number;
  readonly flags: number;
  readonly minBlockBytes: number;
  readonly preferredBlockBytes: number;
  readonly payloadBytesMax: number;
}

export interface RequestFields {
  readonly command: number;
  readonly offsetBytes?: number;
  readonly lengthBytes?: number;
  readonly flags?: number;
}

/** A client that says what a test wants it to say, written from the protocol's text and not from our codecs. */
export class NbdClient {
  inbox: Inbox;
  readonly #readLengths = new Map<number, number>();
  #nextCookie = 1;

  constructor(public socket: Socket) {
    this.inbox = new Inbox(socket);
  }

  /** Connects and takes the greeting. */
  static async connect(to: { unixPath: string } | { port: number }): Promise<NbdClient> {
    const client = new NbdClient(
      connect('unixPath' in to ? { path: to.unixPath } : { host: '127.0.0.1', ...to }),
    );
    const greeting = await client.take(18);
    if (greeting.toString('latin1', 0, 16) !== 'NBDMAGICIHAVEOPT') throw new Error('no NBD greeting');
    return client;
  }

  /** Goes on over another socket, as after STARTTLS. */
  moveTo(socket: Socket): void {
    this.socket = socket;
    this.inbox = new Inbox(socket);
  }

  async take(lengthBytes: number): Promise<Buffer> {
    const bytes = await this.inbox.take(lengthBytes);
    if (bytes === null) throw new Error('the server has closed the connection');
    return bytes;
  }

  sendFlags(flags = 3): void {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(flags);
    this.socket.write(bytes);
  }

  sendOption(option: number, data: Buffer = Buffer.alloc(0), announcedBytes = data.length): void {
    const header = Buffer.alloc(16);
    header.write('IHAVEOPT', 0, 'latin1');
    header.writeUInt32BE(option, 8);
    header.writeUInt32BE(announcedBytes, 12);
    this.socket.write(Buffer.concat([header, data]));
  }

  async optionReply(): Promise<OptionReply> {
    const header = await this.take(20);
    if (header.toString('hex', 0, 8) !== '0003e889045565a9') throw new Error('no option reply');
    const data = await this.take(header.readUInt32BE(16));
    return { option: header.readUInt32BE(8), reply: header.readUInt32BE(12), data };
  }

  /** One option and its last reply. */
  async ask(option: number, data?: Buffer): Promise<OptionReply> {
    this.sendOption(option, data);
    for (;;) {
      const reply = await this.optionReply();
      if (reply.reply !== NBD_OPTION_REPLY.info && reply.reply !== NBD_OPTION_REPLY.server) return reply;
    }
  }

  /** Everything up to the transmission. Throws if the server has another answer than yes. */
  async go(name = '', { isStructured = false } = {}): Promise<GoneInto> {
    this.sendFlags();
    if (isStructured) await this.ask(NBD_OPTION.structuredReply);
    this.sendOption(NBD_OPTION.go, infoRequest(name, [3]));
    const items = new Map<number, Buffer>();
    for (;;) {
      const { reply, data } = await this.optionReply();
      if (reply === NBD_OPTION_REPLY.ack) break;
      if (reply !== NBD_OPTION_REPLY.info) throw new Error(`GO: ${reply} ${data.toString()}`);
      items.set(data.readUInt16BE(0), data);
    }
    const [about, sizes] = [items.get(0), items.get(3)];
    if (about === undefined || sizes === undefined) throw new Error('GO without size or block sizes');
    return {
      mediaSizeBytes: Number(about.readBigUInt64BE(2)),
      flags: about.readUInt16BE(10),
      minBlockBytes: sizes.readUInt32BE(2),
      preferredBlockBytes: sizes.readUInt32BE(6),
      payloadBytesMax: sizes.readUInt32BE(10),
    };
  }

  /** Sends a request, and returns its cookie. */
  send(fields: RequestFields, payload: Buffer = Buffer.alloc(0)): number {
    const cookie = this.#nextCookie++;
    const lengthBytes = fields.lengthBytes ?? payload.length;
    if (fields.command === NBD_COMMAND.read) this.#readLengths.set(cookie, lengthBytes);
    this.socket.write(Buffer.concat([requestBytes({ ...fields, lengthBytes }, cookie), payload]));
    return cookie;
  }

  async reply(): Promise<ServerReply> {
    const start = await this.take(16);
    const cookie = Number(start.readBigUInt64BE(8));
    if (start.readUInt32BE(0) === 0x67446698) return await this.#simple(start, cookie);
    if (start.readUInt32BE(0) !== 0x668e33ef) throw new Error('no NBD reply');
    if (start.readUInt16BE(4) !== 1) throw new Error('a chunk that is not the last one');
    const type = start.readUInt16BE(6);
    const payload = await this.take((await this.take(4)).readUInt32BE(0));
    if (type === 1) {
      const offsetBytes = Number(payload.readBigUInt64BE(0));
      return { kind: 'chunk', cookie, errno: 0, text: '', data: payload.subarray(8), offsetBytes };
    }
    if (type !== 0x8001) throw new Error(`an unknown chunk of type ${type}`);
    const text = payload.toString('utf8', 6, 6 + payload.readUInt16BE(4));
    const errno = payload.readUInt32BE(0);
    return { kind: 'chunk', cookie, errno, text, data: Buffer.alloc(0), offsetBytes: null };
  }

  /** One request and its answer. */
  async request(fields: RequestFields, payload?: Buffer): Promise<ServerReply> {
    const cookie = this.send(fields, payload);
    const reply = await this.reply();
    if (reply.cookie !== cookie) throw new Error(`an answer to ${reply.cookie} instead of ${cookie}`);
    return reply;
  }

  read(offsetBytes: number, lengthBytes: number): Promise<ServerReply> {
    return this.request({ command: NBD_COMMAND.read, offsetBytes, lengthBytes });
  }

  write(offsetBytes: number, payload: Buffer, flags = 0): Promise<ServerReply> {
    return this.request({ command: NBD_COMMAND.write, offsetBytes, flags }, payload);
  }

  /** Says goodbye and waits for the server to close. */
  async disconnect(): Promise<void> {
    this.send({ command: NBD_COMMAND.disconnect });
    await this.inbox.closed();
  }

  destroy(): void {
    this.socket.destroy();
  }

  async #simple(start: Buffer, cookie: number): Promise<ServerReply> {
    const errno = start.readUInt32BE(4);
    const data = await this.take(errno === 0 ? (this.#readLengths.get(cookie) ?? 0) : 0);
    return { kind: 'simple', cookie, errno, text: '', data, offsetBytes: null };
  }
}

export function requestBytes(fields: RequestFields, cookie: number): Buffer {
  const bytes = Buffer.alloc(NBD_REQUEST.sizeBytes);
  const { command, offsetBytes = 0, lengthBytes = 0, flags = 0 } = fields;
  encodeNbdRequest(bytes, 0, { command, offsetBytes, lengthBytes, flags, cookieHigh: 0, cookieLow: cookie });
  return bytes;
}

/** The data of INFO and GO. */
export function infoRequest(name: string, items: readonly number[] = []): Buffer {
  const nameBytes = Buffer.from(name, 'utf8');
  const data = Buffer.alloc(6 + nameBytes.length + items.length * 2);
  data.writeUInt32BE(nameBytes.length, 0);
  nameBytes.copy(data, 4);
  data.writeUInt16BE(items.length, 4 + nameBytes.length);
  for (const [index, item] of items.entries()) data.writeUInt16BE(item, 6 + nameBytes.length + index * 2);
  return data;
}
