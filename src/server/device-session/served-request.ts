import type { BlockIo, BlockOp, DeviceError } from '../../device/block-device.js';
import { checksumsBytes } from '../../protocol/region-checksums.js';
import {
  COMMAND,
  HEADER,
  type EchoedHeader,
  type RequestHeader,
  createEchoedHeader,
  decodeEchoedHeader,
} from '../../protocol/request.js';
import type { RequestFormat } from '../stream/request-reader.js';
import type { Slab } from '../stream/slabs.js';
import type { Flight } from './in-flight.js';

/** A request as ggate has it on the wire. A client that leaves closes its connections and says nothing. */
export const GGATE_REQUEST_FORMAT: RequestFormat<EchoedHeader> = {
  headerBytes: HEADER.sizeBytes,
  create: createEchoedHeader,
  decode: decodeEchoedHeader,
  payloadBytes: ({ command, lengthBytes }) => (command === COMMAND.write ? lengthBytes : 0),
  isGoodbye: () => false,
};

const OP_OF_COMMAND: Readonly<Record<number, BlockOp>> = {
  [COMMAND.read]: 'read',
  [COMMAND.write]: 'write',
  [COMMAND.flush]: 'flush',
  [COMMAND.writeZeroes]: 'write-zeroes',
  [COMMAND.trim]: 'trim',
  [COMMAND.checksum]: 'checksum',
};

/**
 * What a request asks of the device; null for what is answered without it: a ping, and a transfer of nothing, unless
 * that is the flush in disguise of clients before FreeBSD 14. For requests that were not refused.
 */
export function opOf(
  { command, offsetBytes, lengthBytes }: RequestHeader,
  mediaSizeBytes: number,
): BlockOp | null {
  if (command <= COMMAND.write && lengthBytes === 0) return offsetBytes === mediaSizeBytes ? 'flush' : null;
  return OP_OF_COMMAND[command] ?? null;
}

/** One request of a client, as the device sees it. Used again for the next one when the device is done with it. */
export class ServedRequest implements BlockIo, Flight {
  readonly header: EchoedHeader = createEchoedHeader();
  op: BlockOp = 'read';
  offsetBytes = 0;
  lengthBytes = 0;
  buffer: Buffer | null = null;
  bufferAt = 0;
  /** Of a read where its answer goes, header first; of a write its payload, if that isn't where it came in. */
  slab: Slab | null = null;
  /** Where in the slab the answer of a read begins. */
  slabAt = 0;
  waitsSinceMs = 0;
  /** The client was told that the device is silent; nobody waits for it any more. */
  isGivenUp = false;
  flightIndex = 0;

  constructor(private readonly whenDone: (request: ServedRequest, error: DeviceError | null) => void) {}

  begin(header: EchoedHeader, op: BlockOp): void {
    copyHeader(header, this.header);
    this.op = op;
    // A flush has no range, wherever the client says it is.
    this.offsetBytes = op === 'flush' ? 0 : header.offsetBytes;
    this.lengthBytes = header.lengthBytes;
    this.isGivenUp = false;
  }

  get isChange(): boolean {
    return this.op === 'write' || this.op === 'write-zeroes' || this.op === 'trim';
  }

  /** What follows the header of a good answer. */
  get bodyBytes(): number {
    if (this.op === 'read') return this.lengthBytes;
    return this.op === 'checksum' ? checksumsBytes(this.lengthBytes) : 0;
  }

  /** For the window: what it keeps in memory. */
  get dataBytes(): number {
    return this.op === 'write' ? this.lengthBytes : this.bodyBytes;
  }

  done(error: DeviceError | null): void {
    this.whenDone(this, error);
  }

  /** Lets go of all memory. */
  end(): void {
    this.buffer = null;
    this.slab = null;
  }
}

/** Field by field, for this is done for every request. */
function copyHeader(from: EchoedHeader, to: EchoedHeader): void {
  to.command = from.command;
  to.offsetBytes = from.offsetBytes;
  to.lengthBytes = from.lengthBytes;
  to.offsetHigh = from.offsetHigh;
  to.offsetLow = from.offsetLow;
  to.seqHigh = from.seqHigh;
  to.seqLow = from.seqLow;
}
