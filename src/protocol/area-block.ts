import { crc32c } from './crc32c.js';
import { assert } from './errors.js';
import { readU64LE } from './integers.js';

/** Every block of the private area. Source: docs/on-disk-format.md, "Blocks". */
export const AREA_BLOCK_BYTES = 4096;
export const AREA_FORMAT_VERSION = 1;
const AT = { kind: 0, version: 8, crc: 12, sequence: 16, areaId: 24, body: 32 } as const;
export const AREA_BODY_AT = AT.body;
export const AREA_ID_BYTES = AT.body - AT.areaId;

export const AREA_KIND = { superblock: 'GGMSUPER', log: 'GGMIRLOG', bitmap: 'GGMIRBIT' } as const;
export type AreaKind = (typeof AREA_KIND)[keyof typeof AREA_KIND];

export interface AreaBlockHeader {
  readonly kind: AreaKind;
  readonly sequence: number;
  /** 8 bytes. */
  readonly areaId: Buffer;
}

/** A block of zeros but for its header, made in one that is all zeros; the caller fills the body and then calls sealBlock. */
export function newBlock(header: AreaBlockHeader, block: Buffer = Buffer.alloc(AREA_BLOCK_BYTES)): Buffer {
  assert(header.areaId.length === AREA_ID_BYTES, 'area block: area id of 8 bytes');
  assert(block.length === AREA_BLOCK_BYTES, 'area block: wrong size');
  block.write(header.kind, AT.kind, 'latin1');
  block.writeUInt32LE(AREA_FORMAT_VERSION, AT.version);
  block.writeBigUInt64LE(BigInt(header.sequence), AT.sequence);
  header.areaId.copy(block, AT.areaId);
  return block;
}

/** Sets the checksum. The block must not change afterwards. */
export function sealBlock(block: Buffer): Buffer {
  block.writeUInt32LE(0, AT.crc);
  block.writeUInt32LE(crc32c(block), AT.crc);
  return block;
}

/** Highest sequence number; a block with a higher one is damaged, so that there is always a next one. */
const SEQUENCE_MAX = 2 ** 52;
const ZERO_BLOCK = Buffer.alloc(AREA_BLOCK_BYTES);
const ZERO_CRC = Buffer.alloc(4);

/** What a block's bytes are: a valid block of the kind, never written in this area, or neither. */
export type BlockState = 'valid' | 'empty' | 'damaged';

/**
 * `areaId` null asks for no particular one (superblocks, which tell it). A sound block of another area is 'empty': it is
 * left over from an earlier mirror, and nothing was written in its place since. Only header and checksum are looked at.
 */
export function blockState(block: Buffer, kind: AreaKind, areaId: Buffer | null): BlockState {
  assert(block.length === AREA_BLOCK_BYTES, 'area block: wrong size');
  if (block.equals(ZERO_BLOCK)) return 'empty';
  if (block.toString('latin1', AT.kind, AT.version) !== kind) return 'damaged';
  if (block.readUInt32LE(AT.version) !== AREA_FORMAT_VERSION) return 'damaged';
  const before = crc32c(block.subarray(0, AT.crc));
  const rest = crc32c(block.subarray(AT.sequence), crc32c(ZERO_CRC, before));
  if (rest !== block.readUInt32LE(AT.crc)) return 'damaged';
  if (areaId !== null && !block.subarray(AT.areaId, AT.body).equals(areaId)) return 'empty';
  const sequence = block.readBigUInt64LE(AT.sequence);
  return sequence >= 1n && sequence <= BigInt(SEQUENCE_MAX) ? 'valid' : 'damaged';
}

export const sequenceOf = (block: Buffer): number => readU64LE(block, AT.sequence, 'sequence number');
export const areaIdOf = (block: Buffer): Buffer => Buffer.from(block.subarray(AT.areaId, AT.body));

/** What a block says it is, whether it is sound or not; for messages. */
export const kindAndVersionOf = (block: Buffer): { readonly kind: string; readonly version: number } => ({
  kind: block.toString('latin1', AT.kind, AT.version),
  version: block.readUInt32LE(AT.version),
});
