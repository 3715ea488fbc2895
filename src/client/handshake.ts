import {
  CAPABILITY_PACKET,
  capabilitiesSize,
  decodeCapabilities,
  encodeCapabilities,
  type CapabilityPacket,
} from '../protocol/capabilities.js';
import { fromWireErrno } from '../protocol/errno.js';
import { ProtocolError } from '../protocol/errors.js';
import { isPowerOfTwo } from '../protocol/geometry.js';
import {
  HELLO,
  SERVER_INITIAL,
  VERSION_PACKET,
  decodeServerInitial,
  decodeVersion,
  encodeClientInitial,
  encodeVersion,
  type ClientInitial,
  type ServerInitial,
} from '../protocol/handshake.js';
import { DeviceError } from '../device/block-device.js';
import type { ByteSink, HalfSocket } from './half-socket.js';
import { HANDSHAKE_BUFFER_BYTES, SECTOR_BYTES_MAX, TRANSFER_BYTES_MAX } from './limits.js';

/** What the server said on one half. */
export interface ServerTerms {
  readonly mediaSizeBytes: number;
  readonly sectorSizeBytes: number;
  /** Null for a server that answers no hello. */
  readonly hello: CapabilityPacket | null;
}

/** Reads packets of a known size; what comes beyond a whole handshake is against the protocol. */
class PacketReader implements ByteSink {
  readonly #bytes = Buffer.alloc(HANDSHAKE_BUFFER_BYTES);
  #from = 0;
  #to = 0;
  #failure: Error | null = null;
  #waiting: { readonly sizeBytes: number; settle: () => void } | null = null;

  /** Memory of the reader, never written again. Rejects when the connection ends before. */
  read(sizeBytes: number): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const settle = (): void => {
        if (this.#to - this.#from >= sizeBytes) {
          this.#from += sizeBytes;
          resolve(this.#bytes.subarray(this.#from - sizeBytes, this.#from));
        } else if (this.#failure !== null) reject(this.#failure);
        else this.#waiting = { sizeBytes, settle };
      };
      settle();
    });
  }

  bytes(bytes: Buffer, length: number): void {
    if (length > this.#bytes.length - this.#to) {
      this.#fail(new ProtocolError('PROTOCOL_UNEXPECTED', 'the server sends more than its handshake'));
      return;
    }
    bytes.copy(this.#bytes, this.#to, 0, length);
    this.#to += length;
    this.#wake();
  }

  closed(error: Error | null): void {
    this.#fail(
      error ?? new ProtocolError('PROTOCOL_FORMAT', 'the server closed the connection during the handshake'),
    );
  }

  expectNothingMore(): void {
    if (this.#failure !== null) throw this.#failure;
    if (this.#from !== this.#to) {
      throw new ProtocolError('PROTOCOL_UNEXPECTED', 'the server sends answers before it was asked');
    }
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    this.#wake();
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = null;
    waiting?.settle();
  }
}

export interface HandshakeRequest {
  /** For messages. */
  readonly name: string;
  readonly initial: ClientInitial;
  /** Null to say no hello. */
  readonly hello: CapabilityPacket | null;
}

/**
 * The whole handshake on one half. Unlike ggatec it takes no short or closed answer for a good one (ggate protocol
 * spec, section 3). Throws ProtocolError, DeviceError (DEVICE_REFUSED with the server's errno), and what the socket
 * throws. The socket's sink is then still the reader of the handshake; `finish` tells what it has met since.
 */
export async function shakeHands(socket: HalfSocket, request: HandshakeRequest): Promise<Shaken> {
  const reader = new PacketReader();
  socket.sink = reader;
  await socket.opened;
  socket.write([encodeVersion(request.hello === null ? 0 : HELLO)], () => undefined);
  const answer = decodeVersion(await reader.read(VERSION_PACKET.sizeBytes));
  const hello = answer === HELLO ? request.hello : null;
  if (hello === null && answer !== 0) {
    throw new ProtocolError('PROTOCOL_UNEXPECTED', `the server answers the version with error ${answer}`);
  }
  const packets = [encodeClientInitial(request.initial)];
  if (hello !== null) packets.push(encodeCapabilities(hello));
  socket.write(packets, () => undefined);
  const initial = decodeServerInitial(await reader.read(SERVER_INITIAL.sizeBytes));
  if (initial.errorNumber !== 0) throw refusal(request, initial.errorNumber);
  checkGeometry(initial);
  const capabilities = hello === null ? null : await readCapabilities(reader);
  const { mediaSizeBytes, sectorSizeBytes } = initial;
  return {
    terms: { mediaSizeBytes, sectorSizeBytes, hello: capabilities },
    finish: () => reader.expectNothingMore(),
  };
}

export interface Shaken {
  readonly terms: ServerTerms;
  /** Throws if the server said more than its handshake, or has closed. Call it when the sink is exchanged. */
  finish(): void;
}

async function readCapabilities(reader: PacketReader): Promise<CapabilityPacket> {
  const prefix = Buffer.from(await reader.read(CAPABILITY_PACKET.prefixBytes));
  // The size is checked before anything is read, let alone allocated.
  const rest = await reader.read(capabilitiesSize(prefix) - prefix.length);
  const packet = decodeCapabilities(Buffer.concat([prefix, rest]));
  if (packet.requestBytesMax < TRANSFER_BYTES_MAX || packet.requestsMax < 1) {
    throw new ProtocolError(
      'PROTOCOL_RANGE',
      `the server takes ${packet.requestsMax} requests of ${packet.requestBytesMax} bytes; ` +
        `at least 1 of ${TRANSFER_BYTES_MAX} is the rule`,
    );
  }
  return packet;
}

function checkGeometry({ mediaSizeBytes, sectorSizeBytes }: ServerInitial): void {
  if (!isPowerOfTwo(sectorSizeBytes) || sectorSizeBytes > SECTOR_BYTES_MAX) {
    throw new ProtocolError('PROTOCOL_RANGE', `the server's sectors have ${sectorSizeBytes} bytes`);
  }
  if (mediaSizeBytes === 0 || mediaSizeBytes % sectorSizeBytes !== 0) {
    throw new ProtocolError(
      'PROTOCOL_RANGE',
      `the server's medium has ${mediaSizeBytes} bytes, not a number of sectors of ${sectorSizeBytes}`,
    );
  }
}

const ADVICE: Readonly<Record<string, string>> = {
  EPERM: "check the server's exports: address, path and mode",
  EACCES: 'check the permissions of the file on the server',
  ENOENT: 'check the path: no such file on the server',
  EBUSY: 'another client is writing to it',
  EROFS: 'it is read-only on the server',
};

function refusal(request: HandshakeRequest, errorNumber: number): DeviceError {
  const errno = fromWireErrno(errorNumber);
  const advice = ADVICE[errno] ?? "see the server's log";
  const said = errno === 'EIO' ? `error ${errorNumber}` : errno;
  return new DeviceError(
    'DEVICE_REFUSED',
    errno,
    `${request.name}: the server refuses with ${said}; ${advice}`,
  );
}
