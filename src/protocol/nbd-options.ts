import { ProtocolError } from './errors.js';
import { writeU64 } from './integers.js';
import { NBD_INFO, NBD_OPTION_REPLY, NBD_STRING_BYTES_MAX, type NbdOptionReply } from './nbd.js';

/** Source: NBD protocol, "Fixed newstyle negotiation". Two magic words, then 16 bits of flags. */
const GREETING_MAGIC = Buffer.from('NBDMAGIC', 'latin1');
const OPTION_MAGIC = Buffer.from('IHAVEOPT', 'latin1');
const OPTION_REPLY_MAGIC = Buffer.from('0003e889045565a9', 'hex');
const FLAG_FIXED_NEWSTYLE = 1;
const FLAG_NO_ZEROES = 2;
const EXPORT_NAME_PADDING_BYTES = 124;

/** 32 bits of flags, the client's first word. */
export const NBD_CLIENT_FLAGS_BYTES = 4;

/** Magic, option, length of what follows. */
export const NBD_OPTION_HEADER = { optionAt: 8, lengthAt: 12, sizeBytes: 16 } as const;

export interface NbdClientFlags {
  /** Whether it wants to do without the zeroes behind the answer to EXPORT_NAME. */
  readonly noZeroes: boolean;
}

export interface NbdOptionHeader {
  readonly option: number;
  readonly lengthBytes: number;
}

/** What a client learns of an export. */
export interface NbdExportInfo {
  readonly name: string;
  readonly description: string;
  readonly mediaSizeBytes: number;
  readonly transmissionFlags: number;
  readonly blockSizes: {
    readonly minBytes: number;
    readonly preferredBytes: number;
    readonly payloadBytesMax: number;
  };
}

/** The server's first packet: fixed newstyle, no zeroes needed. */
export function encodeNbdGreeting(): Buffer {
  const flags = Buffer.alloc(2);
  flags.writeUInt16BE(FLAG_FIXED_NEWSTYLE + FLAG_NO_ZEROES);
  return Buffer.concat([GREETING_MAGIC, OPTION_MAGIC, flags]);
}

/** Throws ProtocolError PROTOCOL_VERSION for flags that we did not offer: the protocol wants such clients dropped. */
export function decodeNbdClientFlags(bytes: Buffer): NbdClientFlags {
  const flags = bytes.readUInt32BE(0);
  if (flags > FLAG_FIXED_NEWSTYLE + FLAG_NO_ZEROES) {
    throw new ProtocolError(
      'PROTOCOL_VERSION',
      `the client asks for the unknown flags 0x${flags.toString(16)}`,
    );
  }
  return { noZeroes: flags >= FLAG_NO_ZEROES };
}

/** Throws ProtocolError PROTOCOL_MAGIC. */
export function decodeNbdOptionHeader(bytes: Buffer): NbdOptionHeader {
  if (!bytes.subarray(0, OPTION_MAGIC.length).equals(OPTION_MAGIC)) {
    throw new ProtocolError('PROTOCOL_MAGIC', 'what should be an NBD option does not start like one');
  }
  return {
    option: bytes.readUInt32BE(NBD_OPTION_HEADER.optionAt),
    lengthBytes: bytes.readUInt32BE(NBD_OPTION_HEADER.lengthAt),
  };
}

/**
 * The data of INFO and GO: the export's name and which INFO items are wanted. Throws ProtocolError PROTOCOL_FORMAT if
 * the lengths don't add up, or if the name isn't UTF-8 of at most 4096 bytes without NUL.
 */
export function decodeNbdInfoRequest(data: Buffer): { name: string; wanted: ReadonlySet<number> } {
  const nameBytes = data.length >= 6 ? data.readUInt32BE(0) : Infinity;
  if (nameBytes > data.length - 6) throw malformed('is cut short');
  const name = decodeNbdName(data.subarray(4, 4 + nameBytes));
  const count = data.readUInt16BE(4 + nameBytes);
  const itemsAt = 6 + nameBytes;
  if (data.length !== itemsAt + count * 2) throw malformed('has another length than it says');
  const wanted = new Set(Array.from({ length: count }, (_, index) => data.readUInt16BE(itemsAt + index * 2)));
  return { name, wanted };
}

/** Throws ProtocolError PROTOCOL_FORMAT for what is no UTF-8 of at most 4096 bytes without NUL. */
export function decodeNbdName(bytes: Buffer): string {
  if (bytes.length > NBD_STRING_BYTES_MAX) throw malformed(`has a name of ${bytes.length} bytes`);
  const name = bytes.toString('utf8');
  if (name.includes('\0') || !Buffer.from(name, 'utf8').equals(bytes))
    throw malformed('has a name that is no text');
  return name;
}

const malformed = (what: string): ProtocolError =>
  new ProtocolError('PROTOCOL_FORMAT', `the request ${what}`);

/** Any reply to an option. */
export function encodeNbdOptionReply(
  option: number,
  reply: NbdOptionReply,
  data: Buffer | string = '',
): Buffer {
  const payload = typeof data === 'string' ? Buffer.from(data, 'utf8') : data;
  const numbers = Buffer.alloc(12);
  numbers.writeUInt32BE(option, 0);
  numbers.writeUInt32BE(reply, 4);
  numbers.writeUInt32BE(payload.length, 8);
  return Buffer.concat([OPTION_REPLY_MAGIC, numbers, payload]);
}

/** One line of the answer to LIST. */
export function encodeNbdServerReply(option: number, { name, description }: NbdExportInfo): Buffer {
  const nameBytes = Buffer.from(name, 'utf8');
  const length = Buffer.alloc(4);
  length.writeUInt32BE(nameBytes.length);
  const data = Buffer.concat([length, nameBytes, Buffer.from(description, 'utf8')]);
  return encodeNbdOptionReply(option, NBD_OPTION_REPLY.server, data);
}

/**
 * The answer to INFO and GO for an export that there is, its ACK included. Size and block sizes are always told; name
 * and description to who asks.
 */
export function encodeNbdInfoReplies(
  option: number,
  info: NbdExportInfo,
  wanted: ReadonlySet<number>,
): Buffer {
  const items = [exportItem(info), blockSizeItem(info)];
  if (wanted.has(NBD_INFO.name)) items.push(textItem(NBD_INFO.name, info.name));
  if (wanted.has(NBD_INFO.description)) items.push(textItem(NBD_INFO.description, info.description));
  return Buffer.concat([
    ...items.map((item) => encodeNbdOptionReply(option, NBD_OPTION_REPLY.info, item)),
    encodeNbdOptionReply(option, NBD_OPTION_REPLY.ack),
  ]);
}

function exportItem({ mediaSizeBytes, transmissionFlags }: NbdExportInfo): Buffer {
  const item = Buffer.alloc(12);
  item.writeUInt16BE(NBD_INFO.export, 0);
  writeU64(item, 2, mediaSizeBytes);
  item.writeUInt16BE(transmissionFlags, 10);
  return item;
}

function blockSizeItem({ blockSizes }: NbdExportInfo): Buffer {
  const item = Buffer.alloc(14);
  item.writeUInt16BE(NBD_INFO.blockSize, 0);
  item.writeUInt32BE(blockSizes.minBytes, 2);
  item.writeUInt32BE(blockSizes.preferredBytes, 6);
  item.writeUInt32BE(blockSizes.payloadBytesMax, 10);
  return item;
}

function textItem(type: number, text: string): Buffer {
  const head = Buffer.alloc(2);
  head.writeUInt16BE(type);
  return Buffer.concat([head, Buffer.from(text, 'utf8')]);
}

/** The answer to EXPORT_NAME, with which transmission begins. */
export function encodeNbdExportNameReply(info: NbdExportInfo, { noZeroes }: NbdClientFlags): Buffer {
  const reply = Buffer.alloc(10 + (noZeroes ? 0 : EXPORT_NAME_PADDING_BYTES));
  writeU64(reply, 0, info.mediaSizeBytes);
  reply.writeUInt16BE(info.transmissionFlags, 8);
  return reply;
}
