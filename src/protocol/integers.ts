import { ProtocolError } from './errors.js';

/** Reads an unsigned big-endian 64-bit field. Throws ProtocolError from 2^53 on, where numbers are no longer exact. */
export function readU64(bytes: Buffer, at: number, field: string): number {
  const high = bytes.readUInt32BE(at);
  if (high > 0x1f_ffff)
    throw new ProtocolError('PROTOCOL_RANGE', `${field} is 2^53 or more; no disk is that large`);
  return high * 2 ** 32 + bytes.readUInt32BE(at + 4);
}

/** Writes an unsigned big-endian 64-bit field. `value` is a safe, non-negative integer. */
export function writeU64(bytes: Buffer, at: number, value: number): void {
  bytes.writeUInt32BE(Math.floor(value / 2 ** 32), at);
  bytes.writeUInt32BE(value % 2 ** 32, at + 4);
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
