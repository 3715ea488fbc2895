import { ProtocolError } from './errors.js';
import { isAligned, isInside } from './geometry.js';
import {
  NBD_COMMAND,
  NBD_COMMAND_FLAG,
  NBD_PAYLOAD_BYTES_MAX,
  NBD_TRANSMISSION_FLAG,
  hasBit,
} from './nbd.js';
import type { NbdErrnoName } from './nbd-errno.js';
import { assertRoom, readU16, readU32, readU64Inexact, writeU16, writeU32, writeU64 } from './integers.js';

/** Source: NBD protocol, "Request message". The payload of a WRITE follows. */
export const NBD_REQUEST = {
  magicAt: 0,
  flagsAt: 4,
  commandAt: 6,
  cookieAt: 8,
  offsetAt: 16,
  lengthAt: 24,
  sizeBytes: 28,
} as const;

const MAGIC = 0x25609513;

/** Reused, never kept. The cookie, which is only ever echoed, is in two halves. */
export interface NbdRequestHeader {
  flags: number;
  command: number;
  cookieHigh: number;
  cookieLow: number;
  offsetBytes: number;
  lengthBytes: number;
}

/**
 * Reads a header into `into`. An offset of 2^53 or more comes out inexact, but larger than any medium. Throws
 * ProtocolError PROTOCOL_MAGIC: whoever sends something else has lost the thread, and nothing after it can be trusted.
 */
export function decodeNbdRequest(bytes: Buffer, at: number, into: NbdRequestHeader): void {
  assertRoom(bytes, at, NBD_REQUEST.sizeBytes);
  const magic = readU32(bytes, at);
  if (magic !== MAGIC) {
    throw new ProtocolError('PROTOCOL_MAGIC', `a request starts with 0x${magic.toString(16)}, no NBD magic`);
  }
  into.flags = readU16(bytes, at + NBD_REQUEST.flagsAt);
  into.command = readU16(bytes, at + NBD_REQUEST.commandAt);
  into.cookieHigh = readU32(bytes, at + NBD_REQUEST.cookieAt);
  into.cookieLow = readU32(bytes, at + NBD_REQUEST.cookieAt + 4);
  into.offsetBytes = readU64Inexact(bytes, at + NBD_REQUEST.offsetAt);
  into.lengthBytes = readU32(bytes, at + NBD_REQUEST.lengthAt);
}

/** Writes a header. The offset is a safe integer. */
export function encodeNbdRequest(bytes: Buffer, at: number, header: NbdRequestHeader): void {
  assertRoom(bytes, at, NBD_REQUEST.sizeBytes);
  writeU32(bytes, at, MAGIC);
  writeU16(bytes, at + NBD_REQUEST.flagsAt, header.flags);
  writeU16(bytes, at + NBD_REQUEST.commandAt, header.command);
  writeU32(bytes, at + NBD_REQUEST.cookieAt, header.cookieHigh);
  writeU32(bytes, at + NBD_REQUEST.cookieAt + 4, header.cookieLow);
  writeU64(bytes, at + NBD_REQUEST.offsetAt, header.offsetBytes);
  writeU32(bytes, at + NBD_REQUEST.lengthAt, header.lengthBytes);
}

/** What a request is held against. */
export interface NbdTerms {
  readonly mediaSizeBytes: number;
  readonly sectorSizeBytes: number;
  readonly canRead: boolean;
  /** What the client was told: NBD_TRANSMISSION_FLAG. */
  readonly transmissionFlags: number;
}

/** Flags that may come with each command; FUA with all of them, as the protocol says. */
const FLAG_OF_COMMAND: Readonly<Record<number, number>> = {
  [NBD_COMMAND.read]: NBD_COMMAND_FLAG.df,
  [NBD_COMMAND.writeZeroes]: NBD_COMMAND_FLAG.noHole,
};

/**
 * Why a request can't be served, or null. The one place where a client's request is judged; what passes may be asserted
 * below. The numbers are those of the NBD protocol, "Error values". Not for DISC, which has no answer.
 */
export function nbdRefusalOf(header: NbdRequestHeader, terms: NbdTerms): NbdErrnoName | null {
  const { command } = header;
  if (header.flags !== 0 && !areFlagsKnown(header, terms)) return 'EINVAL';
  if (command === NBD_COMMAND.read) return terms.canRead ? rangeRefusal(header, terms, 'EINVAL') : 'EPERM';
  if (command === NBD_COMMAND.write) return changeRefusal(header, terms, 'ENOSPC');
  if (command === NBD_COMMAND.flush) {
    const isKnown = hasBit(terms.transmissionFlags, NBD_TRANSMISSION_FLAG.sendFlush);
    return isKnown && header.offsetBytes === 0 && header.lengthBytes === 0 ? null : 'EINVAL';
  }
  if (command === NBD_COMMAND.trim) {
    if (!isChangeKnown(terms, NBD_TRANSMISSION_FLAG.sendTrim)) return 'EINVAL';
    return changeRefusal(header, terms, 'EINVAL');
  }
  if (command !== NBD_COMMAND.writeZeroes) return 'EINVAL';
  if (!isChangeKnown(terms, NBD_TRANSMISSION_FLAG.sendWriteZeroes)) return 'EINVAL';
  return changeRefusal(header, terms, 'ENOSPC');
}

function areFlagsKnown({ command, flags }: NbdRequestHeader, { transmissionFlags }: NbdTerms): boolean {
  let rest = flags;
  if (hasBit(rest, NBD_COMMAND_FLAG.fua)) {
    if (!hasBit(transmissionFlags, NBD_TRANSMISSION_FLAG.sendFua)) return false;
    rest -= NBD_COMMAND_FLAG.fua;
  }
  const own = FLAG_OF_COMMAND[command];
  if (own === undefined || !hasBit(rest, own)) return rest === 0;
  const isOffered = command !== NBD_COMMAND.read || hasBit(transmissionFlags, NBD_TRANSMISSION_FLAG.sendDf);
  return isOffered && rest === own;
}

/** On a read-only export it counts as known, so that the answer is EPERM, which says why. */
const isChangeKnown = ({ transmissionFlags }: NbdTerms, flag: number): boolean =>
  hasBit(transmissionFlags, flag) || hasBit(transmissionFlags, NBD_TRANSMISSION_FLAG.readOnly);

function changeRefusal(
  header: NbdRequestHeader,
  terms: NbdTerms,
  outside: 'EINVAL' | 'ENOSPC',
): NbdErrnoName | null {
  if (hasBit(terms.transmissionFlags, NBD_TRANSMISSION_FLAG.readOnly)) return 'EPERM';
  return rangeRefusal(header, terms, outside);
}

function rangeRefusal(
  header: NbdRequestHeader,
  terms: NbdTerms,
  outside: 'EINVAL' | 'ENOSPC',
): NbdErrnoName | null {
  const isTransfer = header.command === NBD_COMMAND.read || header.command === NBD_COMMAND.write;
  if (isTransfer && header.lengthBytes > NBD_PAYLOAD_BYTES_MAX) return 'EINVAL';
  if (header.lengthBytes === 0 || !isAligned(header, terms.sectorSizeBytes)) return 'EINVAL';
  return isInside(header, terms.mediaSizeBytes) ? null : outside;
}
