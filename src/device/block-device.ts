import type { ErrnoName } from '../protocol/errno.js';

export type BlockOp = 'read' | 'write' | 'flush' | 'trim' | 'write-zeroes' | 'checksum';

/** What a device can do. Known when it is open; nobody learns it from a failing request. */
export interface Capabilities {
  readonly read: boolean;
  readonly write: boolean;
  /** A flush makes every write answered before it durable. False for a ggated without FLUSH: it is known as such. */
  readonly flush: boolean;
  readonly trim: boolean;
  readonly writeZeroes: boolean;
  readonly checksum: boolean;
}

/** What a device must be able to do for an operation. */
export const CAPABILITY_OF: Readonly<Record<BlockOp, keyof Capabilities>> = {
  read: 'read',
  write: 'write',
  flush: 'flush',
  trim: 'trim',
  'write-zeroes': 'writeZeroes',
  checksum: 'checksum',
};

/**
 * One request. The device may keep it until `done` and not longer, so callers may reuse the object afterwards.
 * - read fills, write reads `lengthBytes` bytes of `buffer` from `bufferAt`; the buffer is lent until `done`.
 * - flush has offset 0, length 0 and no buffer; trim and write-zeroes have no buffer. What a trimmed range reads as is
 *   undefined.
 * - checksum fills REGION_CHECKSUM_BYTES for each region of REGION_SIZE_BYTES that the range touches; its
 *   offset is a multiple of that size, its length too or it ends at the end of the medium.
 */
export interface BlockIo {
  readonly op: BlockOp;
  /** A multiple of the sector size. */
  readonly offsetBytes: number;
  /** A multiple of the sector size greater than 0; 0 for a flush. */
  readonly lengthBytes: number;
  readonly buffer: Buffer | null;
  readonly bufferAt: number;
  /** Called exactly once, and never before start() has returned. */
  done(error: DeviceError | null): void;
}

/** A disk-like thing of fixed size. */
export interface BlockDevice {
  /** For people: 'file site.img', 'ggate://backup:3080/site.img'. */
  readonly name: string;
  /** A multiple of sectorSizeBytes, at most 2^53 - 1. */
  readonly mediaSizeBytes: number;
  /** A power of two. */
  readonly sectorSizeBytes: number;
  readonly can: Capabilities;
  /** Starts one request. Never throws on a well-formed one; asserts on others, which are bugs of the caller. */
  start(io: BlockIo): void;
  /** Resolves when every started request is done and all resources are given back. May be called twice. */
  close(): Promise<void>;
}

export type DeviceErrorCode =
  | 'DEVICE_IO' // the medium or the peer answered with an error
  | 'DEVICE_TIMEOUT' // no answer in time
  | 'DEVICE_LOST' // the connection is gone, and the caller chose not to wait for the next one
  | 'DEVICE_CLOSED' // closed by ourselves
  | 'DEVICE_REFUSED' // the peer will not let us in
  | 'DEVICE_CHANGED' // it came back with another size or sector size
  | 'DEVICE_OPEN'; // it can't be opened or isn't something that can serve as a disk

/** A request or a device that failed: what happened, to what, and what to do. */
export class DeviceError extends Error {
  override readonly name = 'DeviceError';
  constructor(
    readonly code: DeviceErrorCode,
    readonly errno: ErrnoName,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}
