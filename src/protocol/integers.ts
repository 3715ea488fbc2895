import { ProtocolError, assert } from './errors.js';

// Buffer's own methods check the types of their arguments and are looked up anew for each field: with some twenty fields a
// request that was a sixth of what a mirrored write cost our code. These check nothing, and whoever uses them calls
// assertRoom() once for all fields that follow each other.

/** To be called before fields are read or written with what follows. */
export function assertRoom(bytes: Uint8Array, at: number, fieldsBytes: number): void {
  assert(at >= 0 && at <= bytes.length - fieldsBytes, 'integers: a field outside its buffer');
}

/** Reads an unsigned big-endian 16-bit field. */
export const readU16 = (bytes: Uint8Array, at: number): number =>
  (bytes[at] ?? 0) * 256 + (bytes[at + 1] ?? 0);

/** Reads an unsigned big-endian 32-bit field. */
export const readU32 = (bytes: Uint8Array, at: number): number =>
  readU16(bytes, at) * 65_536 + readU16(bytes, at + 2);

/** Reads an unsigned big-endian 64-bit field; from 2^53 on inexact, but never less than that. */
export const readU64Inexact = (bytes: Uint8Array, at: number): number =>
  readU32(bytes, at) * 2 ** 32 + readU32(bytes, at + 4);

/** Writes the lowest 16 bits of an integer, big-endian. What is stored in a byte loses its fraction, and all above 255. */
export function writeU16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value / 256;
  bytes[at + 1] = value;
}

/** Writes the lowest 32 bits of an integer, big-endian. */
export function writeU32(bytes: Uint8Array, at: number, value: number): void {
  writeU16(bytes, at, value / 65_536);
  writeU16(bytes, at + 2, value);
}

/** The same memory as a DataView. One that is kept is the fastest way to a field, and checks where its memory ends. */
export const viewOf = (bytes: Buffer): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.length);

/** Reads an unsigned big-endian 64-bit field. Throws ProtocolError from 2^53 on, where numbers are no longer exact. */
export function readU64(bytes: Uint8Array, at: number, field: string): number {
  assertRoom(bytes, at, 8);
  const high = readU32(bytes, at);
  if (high > 0x1f_ffff)
    throw new ProtocolError('PROTOCOL_RANGE', `${field} is 2^53 or more; no disk is that large`);
  return high * 2 ** 32 + readU32(bytes, at + 4);
}

/** Writes an unsigned big-endian 64-bit field. `value` is a safe, non-negative integer. */
export function writeU64(bytes: Uint8Array, at: number, value: number): void {
  assertRoom(bytes, at, 8);
  writeU32(bytes, at, Math.floor(value / 2 ** 32));
  writeU32(bytes, at + 4, value % 2 ** 32);
}

/** Reads an unsigned little-endian 64-bit field. Throws ProtocolError from 2^53 on, as readU64 does. */
export function readU64LE(bytes: Buffer, at: number, field: string): number {
  const high = bytes.readUInt32LE(at + 4);
  if (high > 0x1f_ffff)
    throw new ProtocolError('PROTOCOL_RANGE', `${field} is 2^53 or more; no disk is that large`);
  return high * 2 ** 32 + bytes.readUInt32LE(at);
}

/** Writes an unsigned little-endian 64-bit field. `value` is a safe, non-negative integer. */
export function writeU64LE(bytes: Buffer, at: number, value: number): void {
  bytes.writeUInt32LE(value % 2 ** 32, at);
  bytes.writeUInt32LE(Math.floor(value / 2 ** 32), at + 4);
}
