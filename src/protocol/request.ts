import { type ErrnoName, toWireErrno } from './errno.js';
import { FEATURE, type Features } from './capabilities.js';
import { REGION_SIZE_BYTES, isAligned, isInside } from './geometry.js';
import { assertRoom, readU32, writeU16, writeU32, writeU64 } from './integers.js';

/** Request and reply header, packed, big-endian. Source: ggate protocol spec, section 2; FreeBSD 12.1 ggate.h. */
export const HEADER = { cmdAt: 0, offsetAt: 1, lengthAt: 9, seqAt: 13, errorAt: 21, sizeBytes: 23 } as const;

/** READ and WRITE since FreeBSD 5.3, FLUSH since 14; from 0x40 on ours, docs/ggate-extensions.md. */
export const COMMAND = {
  read: 0,
  write: 1,
  flush: 3,
  writeZeroes: 0x40,
  trim: 0x41,
  checksum: 0x42,
  ping: 0x43,
} as const;

/**
 * Longest READ or WRITE that is served. FreeBSD's kern.maxphys is 128 KiB up to version 12 and 1 MiB from 13 on
 * (ggate protocol spec, section 6).
 */
export const REQUEST_BYTES_MAX = 1_048_576;

/** Longest CHECKSUM: what is read for one reply stays small enough to let other requests through. */
export const CHECKSUM_BYTES_MAX = 4_194_304;

/** A header without its sequence number, which is only ever echoed as bytes. Reused, never kept. */
export interface RequestHeader {
  command: number;
  offsetBytes: number;
  lengthBytes: number;
}

/** Reads a header into `into`. An offset of 2^53 or more comes out inexact, but larger than any medium. */
export function decodeHeader(bytes: DataView, at: number, into: RequestHeader): void {
  into.command = bytes.getUint8(at);
  into.offsetBytes =
    bytes.getUint32(at + HEADER.offsetAt) * 2 ** 32 + bytes.getUint32(at + HEADER.offsetAt + 4);
  into.lengthBytes = bytes.getUint32(at + HEADER.lengthAt);
}

/** Makes an answer's header of a request's: as it came, and our error field, never the peer's. */
export function copyAsAnswer(
  request: DataView,
  at: number,
  answer: DataView,
  answerAt: number,
  errno: ErrnoName | null,
): void {
  const lastAt = HEADER.errorAt - 1;
  for (let index = 0; index < lastAt; index += 4) {
    answer.setUint32(answerAt + index, request.getUint32(at + index));
  }
  answer.setUint8(answerAt + lastAt, request.getUint8(at + lastAt));
  answer.setUint16(answerAt + HEADER.errorAt, errno === null ? 0 : toWireErrno(errno));
}

/** A header with what an answer echoes: the sequence number and the offset as they came, in halves. */
export interface EchoedHeader extends RequestHeader {
  offsetHigh: number;
  offsetLow: number;
  seqHigh: number;
  seqLow: number;
}

export const createEchoedHeader = (): EchoedHeader => ({
  command: 0,
  offsetBytes: 0,
  lengthBytes: 0,
  offsetHigh: 0,
  offsetLow: 0,
  seqHigh: 0,
  seqLow: 0,
});

/**
 * As decodeHeader, of memory that differs from one delivery to the next: a DataView reads faster, but making one for each
 * would cost more than that.
 */
export function decodeEchoedHeader(bytes: Buffer, at: number, into: EchoedHeader): void {
  assertRoom(bytes, at, HEADER.sizeBytes);
  into.offsetHigh = readU32(bytes, at + HEADER.offsetAt);
  into.offsetLow = readU32(bytes, at + HEADER.offsetAt + 4);
  into.seqHigh = readU32(bytes, at + HEADER.seqAt);
  into.seqLow = readU32(bytes, at + HEADER.seqAt + 4);
  into.command = bytes[at] ?? 0;
  into.offsetBytes = into.offsetHigh * 2 ** 32 + into.offsetLow;
  into.lengthBytes = readU32(bytes, at + HEADER.lengthAt);
}

/** Writes an answer's header: the request's as it came, and our error field, never the peer's. */
export function encodeAnswerHeader(
  bytes: Buffer,
  at: number,
  request: EchoedHeader,
  errno: ErrnoName | null,
): void {
  assertRoom(bytes, at, HEADER.sizeBytes);
  bytes[at] = request.command;
  writeU32(bytes, at + HEADER.offsetAt, request.offsetHigh);
  writeU32(bytes, at + HEADER.offsetAt + 4, request.offsetLow);
  writeU32(bytes, at + HEADER.lengthAt, request.lengthBytes);
  writeU32(bytes, at + HEADER.seqAt, request.seqHigh);
  writeU32(bytes, at + HEADER.seqAt + 4, request.seqLow);
  writeU16(bytes, at + HEADER.errorAt, errno === null ? 0 : toWireErrno(errno));
}

/** Writes a request header. `seq` is a safe integer; the error field is zero. */
export function encodeHeader(bytes: Buffer, at: number, header: RequestHeader, seq: number): void {
  assertRoom(bytes, at, HEADER.sizeBytes);
  bytes[at] = header.command;
  writeU64(bytes, at + HEADER.offsetAt, header.offsetBytes);
  writeU32(bytes, at + HEADER.lengthAt, header.lengthBytes);
  writeU64(bytes, at + HEADER.seqAt, seq);
  writeU16(bytes, at + HEADER.errorAt, 0);
}

/** What a request is held against. */
export interface SessionTerms {
  readonly mediaSizeBytes: number;
  readonly sectorSizeBytes: number;
  readonly canRead: boolean;
  readonly canWrite: boolean;
  /** Of the capability packet; no feature without a hello. */
  readonly features: Features;
}

const FEATURE_OF_COMMAND: Readonly<Record<number, number>> = {
  [COMMAND.writeZeroes]: FEATURE.writeZeroes,
  [COMMAND.trim]: FEATURE.trim,
  [COMMAND.checksum]: FEATURE.checksum,
  [COMMAND.ping]: FEATURE.keepAlive,
};

/**
 * Why a request can't be served, or null. The one place where a peer's request is judged; what passes may be asserted
 * below. The real ggated aborts the session in each of these cases (ggate protocol spec, section 5).
 */
export function refusalOf(header: RequestHeader, terms: SessionTerms): ErrnoName | null {
  const { command, lengthBytes } = header;
  if (command === COMMAND.read) return terms.canRead ? transferRefusal(header, terms) : 'EBADF';
  if (command === COMMAND.write) return terms.canWrite ? transferRefusal(header, terms) : 'EBADF';
  if (command === COMMAND.flush)
    return lengthBytes === 0 && header.offsetBytes <= terms.mediaSizeBytes ? null : 'EINVAL';
  const feature = FEATURE_OF_COMMAND[command];
  if (feature === undefined || !terms.features.has(feature)) return 'EOPNOTSUPP';
  return extensionRefusal(header, terms);
}

function transferRefusal(header: RequestHeader, terms: SessionTerms): ErrnoName | null {
  if (header.lengthBytes > REQUEST_BYTES_MAX || !isAligned(header, terms.sectorSizeBytes)) return 'EINVAL';
  // A 12.1 client turns a flush into a READ or WRITE of nothing at the end of the medium (spec, section 5).
  if (header.lengthBytes === 0) return header.offsetBytes <= terms.mediaSizeBytes ? null : 'EINVAL';
  return isInside(header, terms.mediaSizeBytes) ? null : 'EINVAL';
}

function extensionRefusal(header: RequestHeader, terms: SessionTerms): ErrnoName | null {
  if (header.command === COMMAND.ping) return header.lengthBytes === 0 ? null : 'EINVAL';
  if (!isInside(header, terms.mediaSizeBytes)) return 'EINVAL';
  if (header.command === COMMAND.checksum) {
    if (!terms.canRead) return 'EBADF';
    const endBytes = header.offsetBytes + header.lengthBytes;
    const isWhole = header.lengthBytes % REGION_SIZE_BYTES === 0 || endBytes === terms.mediaSizeBytes;
    return header.offsetBytes % REGION_SIZE_BYTES === 0 && isWhole && header.lengthBytes <= CHECKSUM_BYTES_MAX
      ? null
      : 'EINVAL';
  }
  if (!terms.canWrite) return 'EBADF';
  return isAligned(header, terms.sectorSizeBytes) ? null : 'EINVAL';
}

/** Whether this is the flush in disguise that clients before FreeBSD 14 send. */
export const isHiddenFlush = (header: RequestHeader, mediaSizeBytes: number): boolean =>
  header.command <= COMMAND.write && header.lengthBytes === 0 && header.offsetBytes === mediaSizeBytes;
