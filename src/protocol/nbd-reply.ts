import { NBD_ERRNO, type NbdErrnoName } from './nbd-errno.js';
import { assertRoom, writeU16, writeU32, writeU64 } from './integers.js';

/** Source: NBD protocol, "Simple reply message". */
export const NBD_SIMPLE_REPLY = { errorAt: 4, cookieAt: 8, sizeBytes: 16 } as const;

/** Source: NBD protocol, "Structured reply chunk message". */
export const NBD_CHUNK = { flagsAt: 4, typeAt: 6, cookieAt: 8, lengthAt: 16, sizeBytes: 20 } as const;

/** Before the data of a read: where it lies on the medium. */
const OFFSET_BYTES = 8;
/** Before the text of an error: its number and the text's length. */
const ERROR_BYTES = 6;

const SIMPLE_MAGIC = 0x67446698;
const CHUNK_MAGIC = 0x668e33ef;
const FLAG_DONE = 1;
const CHUNK_TYPE = { offsetData: 1, error: 2 ** 15 + 1 } as const;

/** The texts of our errors are cut to this; the log has them whole. */
export const NBD_ERROR_TEXT_BYTES_MAX = 200;

/** The longest answer that carries no data. */
export const NBD_SHORT_REPLY_BYTES_MAX = NBD_CHUNK.sizeBytes + ERROR_BYTES + NBD_ERROR_TEXT_BYTES_MAX;

/** Whose answer it is. */
export interface NbdCookie {
  readonly cookieHigh: number;
  readonly cookieLow: number;
}

/** What comes before the data of a READ that succeeds. */
export const nbdReadHeaderBytes = (isStructured: boolean): number =>
  isStructured ? NBD_CHUNK.sizeBytes + OFFSET_BYTES : NBD_SIMPLE_REPLY.sizeBytes;

/** Writes a simple reply, complete unless it answers a READ. Returns its size. */
export function encodeNbdSimpleReply(
  bytes: Buffer,
  at: number,
  cookie: NbdCookie,
  errno: NbdErrnoName | null,
): number {
  assertRoom(bytes, at, NBD_SIMPLE_REPLY.sizeBytes);
  writeU32(bytes, at, SIMPLE_MAGIC);
  writeU32(bytes, at + NBD_SIMPLE_REPLY.errorAt, errno === null ? 0 : NBD_ERRNO[errno]);
  writeU32(bytes, at + NBD_SIMPLE_REPLY.cookieAt, cookie.cookieHigh);
  writeU32(bytes, at + NBD_SIMPLE_REPLY.cookieAt + 4, cookie.cookieLow);
  return NBD_SIMPLE_REPLY.sizeBytes;
}

/** Writes what comes before the data of a READ as one structured chunk, the only one of its answer. */
export function encodeNbdReadChunk(
  bytes: Buffer,
  at: number,
  request: NbdCookie & { readonly offsetBytes: number; readonly lengthBytes: number },
): void {
  assertRoom(bytes, at, NBD_CHUNK.sizeBytes + OFFSET_BYTES);
  encodeChunk(bytes, at, request, CHUNK_TYPE.offsetData, OFFSET_BYTES + request.lengthBytes);
  writeU64(bytes, at + NBD_CHUNK.sizeBytes, request.offsetBytes);
}

/** Writes a structured error with a text for people, which is cut where it is too long. Returns its size. */
export function encodeNbdErrorChunk(
  bytes: Buffer,
  at: number,
  cookie: NbdCookie,
  { errno, text }: { readonly errno: NbdErrnoName; readonly text: string },
): number {
  assertRoom(bytes, at, NBD_SHORT_REPLY_BYTES_MAX);
  const textAt = at + NBD_CHUNK.sizeBytes + ERROR_BYTES;
  // Node writes whole characters only.
  const textBytes = bytes.write(text, textAt, NBD_ERROR_TEXT_BYTES_MAX, 'utf8');
  encodeChunk(bytes, at, cookie, CHUNK_TYPE.error, ERROR_BYTES + textBytes);
  writeU32(bytes, at + NBD_CHUNK.sizeBytes, NBD_ERRNO[errno]);
  writeU16(bytes, at + NBD_CHUNK.sizeBytes + 4, textBytes);
  return textAt + textBytes - at;
}

function encodeChunk(
  bytes: Buffer,
  at: number,
  cookie: NbdCookie,
  type: (typeof CHUNK_TYPE)[keyof typeof CHUNK_TYPE],
  lengthBytes: number,
): void {
  writeU32(bytes, at, CHUNK_MAGIC);
  writeU16(bytes, at + NBD_CHUNK.flagsAt, FLAG_DONE);
  writeU16(bytes, at + NBD_CHUNK.typeAt, type);
  writeU32(bytes, at + NBD_CHUNK.cookieAt, cookie.cookieHigh);
  writeU32(bytes, at + NBD_CHUNK.cookieAt + 4, cookie.cookieLow);
  writeU32(bytes, at + NBD_CHUNK.lengthAt, lengthBytes);
}
