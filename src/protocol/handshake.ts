import { ProtocolError, assert } from './errors.js';
import { readU64, writeU64 } from './integers.js';

/** TCP port of ggated. Source: ggate.h. */
export const DEFAULT_PORT = 3080;

const MAGIC = Buffer.from('GEOM_GATE       ', 'latin1');

/** Error field of the version packet by which two ggmirrors know each other. Source: docs/ggate-extensions.md. */
export const HELLO = 0x4747;

/** All packets are packed and big-endian. Source: ggate protocol spec, section 2; FreeBSD 12.1 ggate.h. */
export const VERSION_PACKET = { magicAt: 0, versionAt: 16, errorAt: 18, sizeBytes: 20 } as const;
export const CLIENT_INITIAL = {
  pathAt: 0,
  pathSizeBytes: 1025,
  flagsAt: 1025,
  nconnAt: 1033,
  tokenAt: 1035,
  sizeBytes: 1039,
} as const;
export const SERVER_INITIAL = {
  flagsAt: 0,
  mediaSizeAt: 1,
  sectorSizeAt: 9,
  errorAt: 13,
  sizeBytes: 15,
} as const;

const FLAG = { readOnly: 1, writeOnly: 2, send: 4, receive: 8 } as const;

/** What a client asks for and an export grants. */
export type AccessMode = 'ro' | 'wo' | 'rw';

/** A half is named as the server sees it: it sends answers on the send half and receives requests on the other. */
export type Half = 'send' | 'receive';

export interface ClientInitial {
  /** The export's name as sent, read as UTF-8: 1 to 1,024 bytes, compared without any normalisation. */
  readonly path: string;
  readonly access: AccessMode;
  readonly half: Half;
  readonly token: number;
}

export interface ServerInitial {
  readonly mediaSizeBytes: number;
  readonly sectorSizeBytes: number;
  /** A FreeBSD errno number, 0 when the client is welcome. */
  readonly errorNumber: number;
}

/** A version packet in memory of its own. `error` is 0, or HELLO between two ggmirrors. */
export function encodeVersion(error: number): Buffer {
  const packet = Buffer.alloc(VERSION_PACKET.sizeBytes);
  MAGIC.copy(packet, VERSION_PACKET.magicAt);
  packet.writeUInt16BE(error, VERSION_PACKET.errorAt);
  return packet;
}

/** Returns the error field. Throws PROTOCOL_MAGIC, PROTOCOL_VERSION. `packet` has the packet's size. */
export function decodeVersion(packet: Buffer): number {
  assert(packet.length === VERSION_PACKET.sizeBytes, 'version packet: wrong size');
  if (!packet.subarray(0, MAGIC.length).equals(MAGIC)) {
    throw new ProtocolError('PROTOCOL_MAGIC', 'the peer does not speak the ggate protocol');
  }
  const version = packet.readUInt16BE(VERSION_PACKET.versionAt);
  if (version !== 0)
    throw new ProtocolError('PROTOCOL_VERSION', `the peer speaks ggate version ${version}, not 0`);
  return packet.readUInt16BE(VERSION_PACKET.errorAt);
}

/** A client initial packet in memory of its own; unused path bytes are zero. Throws PROTOCOL_RANGE for a long path. */
export function encodeClientInitial(initial: ClientInitial): Buffer {
  const packet = Buffer.alloc(CLIENT_INITIAL.sizeBytes);
  const path = Buffer.from(initial.path, 'utf8');
  if (path.length === 0 || path.length >= CLIENT_INITIAL.pathSizeBytes || path.includes(0)) {
    throw new ProtocolError(
      'PROTOCOL_RANGE',
      `an export's path has 1 to 1024 bytes and no NUL; '${initial.path}' has not`,
    );
  }
  path.copy(packet, CLIENT_INITIAL.pathAt);
  const access = initial.access === 'ro' ? FLAG.readOnly : initial.access === 'wo' ? FLAG.writeOnly : 0;
  writeU64(packet, CLIENT_INITIAL.flagsAt, access + (initial.half === 'send' ? FLAG.send : FLAG.receive));
  packet.writeUInt16BE(2, CLIENT_INITIAL.nconnAt);
  packet.writeUInt32BE(initial.token, CLIENT_INITIAL.tokenAt);
  return packet;
}

/**
 * Throws PROTOCOL_FORMAT for a path without NUL or without a byte. Flags are read as ggated reads them: without SEND
 * it is the receive half; RDONLY wins over WRONLY; bits that nobody knows are ignored (spec, section 4).
 */
export function decodeClientInitial(packet: Buffer): ClientInitial {
  assert(packet.length === CLIENT_INITIAL.sizeBytes, 'client initial packet: wrong size');
  const end = packet.indexOf(0);
  if (end <= 0 || end >= CLIENT_INITIAL.pathSizeBytes) {
    throw new ProtocolError('PROTOCOL_FORMAT', 'the path in the initial packet is empty or has no end');
  }
  const low = packet.readUInt8(CLIENT_INITIAL.flagsAt + 7);
  const has = (flag: number): boolean => Math.floor(low / flag) % 2 === 1;
  return {
    path: packet.toString('utf8', CLIENT_INITIAL.pathAt, end),
    access: has(FLAG.readOnly) ? 'ro' : has(FLAG.writeOnly) ? 'wo' : 'rw',
    half: has(FLAG.send) ? 'send' : 'receive',
    token: packet.readUInt32BE(CLIENT_INITIAL.tokenAt),
  };
}

/** A server initial packet in memory of its own. On an error the sizes are zero, never left-over memory. */
export function encodeServerInitial(initial: ServerInitial): Buffer {
  const packet = Buffer.alloc(SERVER_INITIAL.sizeBytes);
  if (initial.errorNumber === 0) {
    writeU64(packet, SERVER_INITIAL.mediaSizeAt, initial.mediaSizeBytes);
    packet.writeUInt32BE(initial.sectorSizeBytes, SERVER_INITIAL.sectorSizeAt);
  }
  packet.writeUInt16BE(initial.errorNumber, SERVER_INITIAL.errorAt);
  return packet;
}

/** On an error the sizes are 0: what a ggated sends there is left-over memory. Throws PROTOCOL_RANGE. */
export function decodeServerInitial(packet: Buffer): ServerInitial {
  assert(packet.length === SERVER_INITIAL.sizeBytes, 'server initial packet: wrong size');
  const errorNumber = packet.readUInt16BE(SERVER_INITIAL.errorAt);
  if (errorNumber !== 0) return { mediaSizeBytes: 0, sectorSizeBytes: 0, errorNumber };
  const mediaSizeBytes = readU64(packet, SERVER_INITIAL.mediaSizeAt, 'media size');
  const sectorSizeBytes = packet.readUInt32BE(SERVER_INITIAL.sectorSizeAt);
  return { mediaSizeBytes, sectorSizeBytes, errorNumber };
}
