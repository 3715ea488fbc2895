import { ProtocolError, assert } from './errors.js';

/**
 * The capability packet, which two ggmirrors exchange after a hello. Source: docs/ggate-extensions.md, section 3.
 * All fields big-endian. `sizeAt` holds the whole packet's size, so that later revisions can append.
 */
export const CAPABILITY_PACKET = {
  magicAt: 0,
  sizeAt: 4,
  revisionAt: 6,
  featuresAt: 8,
  instanceIdAt: 16,
  bootIdAt: 32,
  requestBytesMaxAt: 48,
  keepAliveMsAt: 52,
  requestsMaxAt: 56,
  reservedAt: 60,
  /** Magic, size and revision: enough to know how much follows. */
  prefixBytes: 8,
  sizeBytes: 64,
  sizeBytesMax: 1024,
} as const;

const MAGIC = Buffer.from('GGMX', 'latin1');
const REVISION = 1;
export const ID_SIZE_BYTES = 16;

/** Bit numbers of the features field. Bit 3 was CHECKSUM as a CRC, and stays unused. */
export const FEATURE = { flush: 0, writeZeroes: 1, trim: 2, keepAlive: 4, checksum: 5 } as const;

/** A set of feature bits, 0 to 31 (the upper half of the field is not used yet). */
export class Features {
  static readonly none = new Features(0);
  static readonly all = Features.of(...Object.values(FEATURE));

  constructor(readonly bits: number) {}

  static of(...features: readonly number[]): Features {
    return new Features(features.reduce((bits, feature) => bits + 2 ** feature, 0));
  }

  has(feature: number): boolean {
    return Math.floor(this.bits / 2 ** feature) % 2 === 1;
  }

  /** What both sides know. Bits that we have no name for are dropped. */
  and(other: Features): Features {
    return Features.of(
      ...Object.values(FEATURE).filter((feature) => this.has(feature) && other.has(feature)),
    );
  }

  without(feature: number): Features {
    return this.has(feature) ? new Features(this.bits - 2 ** feature) : this;
  }

  names(): string[] {
    return Object.entries(FEATURE)
      .filter(([, bit]) => this.has(bit))
      .map(([name]) => name);
  }
}

export interface CapabilityPacket {
  /** From the client what it can use, from the server what is in force. */
  readonly features: Features;
  /** 16 bytes. Server: drawn at its start. Client: drawn once a device, the same at each reconnect. */
  readonly instanceId: Buffer;
  /** 16 bytes. Server: the same until its host restarts. Client: zeros. */
  readonly bootId: Buffer;
  /** Longest READ and WRITE. */
  readonly requestBytesMax: number;
  /** Server: a session that is silent for three times this long is ended; 0 for never. Client: what it would like. */
  readonly keepAliveMs: number;
  /** How many requests the sender is willing to have in flight. */
  readonly requestsMax: number;
}

/** A capability packet in memory of its own. */
export function encodeCapabilities(packet: CapabilityPacket): Buffer {
  assert(packet.instanceId.length === ID_SIZE_BYTES, 'capability packet: instance id of 16 bytes');
  assert(packet.bootId.length === ID_SIZE_BYTES, 'capability packet: boot id of 16 bytes');
  const at = CAPABILITY_PACKET;
  const bytes = Buffer.alloc(at.sizeBytes);
  MAGIC.copy(bytes, at.magicAt);
  bytes.writeUInt16BE(at.sizeBytes, at.sizeAt);
  bytes.writeUInt16BE(REVISION, at.revisionAt);
  bytes.writeUInt32BE(packet.features.bits, at.featuresAt + 4);
  packet.instanceId.copy(bytes, at.instanceIdAt);
  packet.bootId.copy(bytes, at.bootIdAt);
  bytes.writeUInt32BE(packet.requestBytesMax, at.requestBytesMaxAt);
  bytes.writeUInt32BE(packet.keepAliveMs, at.keepAliveMsAt);
  bytes.writeUInt32BE(packet.requestsMax, at.requestsMaxAt);
  return bytes;
}

/** The whole packet's size, from its first eight bytes. Throws PROTOCOL_MAGIC, PROTOCOL_RANGE, PROTOCOL_VERSION. */
export function capabilitiesSize(prefix: Buffer): number {
  const at = CAPABILITY_PACKET;
  if (!prefix.subarray(0, MAGIC.length).equals(MAGIC)) {
    throw new ProtocolError('PROTOCOL_MAGIC', 'expected a capability packet after the hello');
  }
  const sizeBytes = prefix.readUInt16BE(at.sizeAt);
  if (sizeBytes < at.sizeBytes || sizeBytes > at.sizeBytesMax) {
    throw new ProtocolError('PROTOCOL_RANGE', `a capability packet of ${sizeBytes} bytes`);
  }
  if (prefix.readUInt16BE(at.revisionAt) === 0) {
    throw new ProtocolError('PROTOCOL_VERSION', 'a capability packet of revision 0');
  }
  return sizeBytes;
}

/** `bytes` is a whole packet, `capabilitiesSize` long; what follows our 64 bytes is of a later revision and ignored. */
export function decodeCapabilities(bytes: Buffer): CapabilityPacket {
  const at = CAPABILITY_PACKET;
  assert(bytes.length === capabilitiesSize(bytes), 'capability packet: wrong size');
  return {
    features: new Features(bytes.readUInt32BE(at.featuresAt + 4)),
    instanceId: Buffer.from(bytes.subarray(at.instanceIdAt, at.instanceIdAt + ID_SIZE_BYTES)),
    bootId: Buffer.from(bytes.subarray(at.bootIdAt, at.bootIdAt + ID_SIZE_BYTES)),
    requestBytesMax: bytes.readUInt32BE(at.requestBytesMaxAt),
    keepAliveMs: bytes.readUInt32BE(at.keepAliveMsAt),
    requestsMax: bytes.readUInt32BE(at.requestsMaxAt),
  };
}
