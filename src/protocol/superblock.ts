import { AREA_BLOCK_BYTES, AREA_KIND, areaIdOf, newBlock, sealBlock, sequenceOf } from './area-block.js';
import { ProtocolError, assert } from './errors.js';
import { readU64LE } from './integers.js';
import { isPowerOfTwo } from './geometry.js';

/** Components of a mirror, this one included. */
export const SLOT_COUNT = 8;
export const HISTORY_COUNT = 8;
export const UUID_BYTES = 16;

/** Source: docs/on-disk-format.md, "Superblock". */
const AT = {
  mirrorUuid: 32,
  componentUuid: 48,
  name: 64,
  mediaSize: 128,
  sectorSize: 136,
  regionSize: 140,
  extentSize: 144,
  logBlocks: 148,
  bitmapBlocks: 152,
  flags: 156,
  current: 160,
  history: 176,
  slot: 304,
  genid: 308,
  syncid: 312,
  modified: 320,
  slots: 336,
} as const;
const NAME_BYTES = 64;
const SLOT = { uuid: 0, lostAt: 16, flags: 32, sizeBytes: 64 } as const;
const FLAG = { running: 1, inconsistent: 2 } as const;
const SLOT_FLAG = { marked: 1, full: 2, inactive: 4, unheard: 8 } as const;

/** A UUID as 32 lower-case hex digits. */
export type Uuid = string;
export const NO_UUID: Uuid = '0'.repeat(2 * UUID_BYTES);

export interface SlotRecord {
  /** NO_UUID for a free slot. */
  readonly componentUuid: Uuid;
  /** The generation that the component had when it was lost; NO_UUID while it is not behind. */
  readonly lostAt: Uuid;
  /** Its bitmap has bits. */
  readonly isMarked: boolean;
  /** Everything must be copied to it. */
  readonly isFull: boolean;
  /** A person has taken it out of use; it stays a component. */
  readonly isInactive: boolean;
  /** It was missing when a mirror was started: it may have been written in a way that nobody here has seen. */
  readonly isUnheard: boolean;
}

export const FREE_SLOT: SlotRecord = {
  componentUuid: NO_UUID,
  lostAt: NO_UUID,
  isMarked: false,
  isFull: false,
  isInactive: false,
  isUnheard: false,
};

export interface Superblock {
  readonly sequence: number;
  /** 8 bytes. */
  readonly areaId: Buffer;
  readonly mirrorUuid: Uuid;
  readonly componentUuid: Uuid;
  readonly name: string;
  readonly mediaSizeBytes: number;
  readonly sectorSizeBytes: number;
  readonly regionSizeBytes: number;
  readonly extentSizeBytes: number;
  readonly logBlockCount: number;
  readonly bitmapBlockCount: number;
  /** A run has begun and was not ended cleanly. */
  readonly isRunning: boolean;
  /** The data is a mixture: this component was the target of a resync that did not end. */
  readonly isInconsistent: boolean;
  readonly current: Uuid;
  /** Newest first, at most HISTORY_COUNT. */
  readonly history: readonly Uuid[];
  /** Index of this component in `slots`. */
  readonly slot: number;
  /** Of the gmirror label, as we wrote it last. */
  readonly genid: number;
  readonly syncid: number;
  /** Of the image file after the last clean close, nanoseconds since 1970; 0n if unknown. */
  readonly modifiedNs: bigint;
  /** SLOT_COUNT of them. */
  readonly slots: readonly SlotRecord[];
}

const putUuid = (block: Buffer, at: number, uuid: Uuid): void => {
  assert(/^[0-9a-f]{32}$/.test(uuid), `superblock: '${uuid}' is no UUID`);
  block.write(uuid, at, 'hex');
};
const getUuid = (block: Buffer, at: number): Uuid => block.toString('hex', at, at + UUID_BYTES);

/** A sealed block in memory of its own. */
export function encodeSuperblock(superblock: Superblock): Buffer {
  const block = newBlock({
    kind: AREA_KIND.superblock,
    sequence: superblock.sequence,
    areaId: superblock.areaId,
  });
  const name = Buffer.from(superblock.name, 'utf8');
  assert(name.length < NAME_BYTES, 'superblock: name longer than 63 bytes');
  assert(superblock.slots.length === SLOT_COUNT, 'superblock: eight slots');
  assert(superblock.history.length <= HISTORY_COUNT, 'superblock: at most eight generations of history');
  putUuid(block, AT.mirrorUuid, superblock.mirrorUuid);
  putUuid(block, AT.componentUuid, superblock.componentUuid);
  name.copy(block, AT.name);
  block.writeBigUInt64LE(BigInt(superblock.mediaSizeBytes), AT.mediaSize);
  block.writeUInt32LE(superblock.sectorSizeBytes, AT.sectorSize);
  block.writeUInt32LE(superblock.regionSizeBytes, AT.regionSize);
  block.writeUInt32LE(superblock.extentSizeBytes, AT.extentSize);
  block.writeUInt32LE(superblock.logBlockCount, AT.logBlocks);
  block.writeUInt32LE(superblock.bitmapBlockCount, AT.bitmapBlocks);
  const flags =
    (superblock.isRunning ? FLAG.running : 0) + (superblock.isInconsistent ? FLAG.inconsistent : 0);
  block.writeUInt32LE(flags, AT.flags);
  putUuid(block, AT.current, superblock.current);
  superblock.history.forEach((uuid, index) => putUuid(block, AT.history + index * UUID_BYTES, uuid));
  block.writeUInt32LE(superblock.slot, AT.slot);
  block.writeUInt32LE(superblock.genid, AT.genid);
  block.writeUInt32LE(superblock.syncid, AT.syncid);
  block.writeBigUInt64LE(superblock.modifiedNs, AT.modified);
  superblock.slots.forEach((slot, index) => {
    const at = AT.slots + index * SLOT.sizeBytes;
    putUuid(block, at + SLOT.uuid, slot.componentUuid);
    putUuid(block, at + SLOT.lostAt, slot.lostAt);
    const slotFlags =
      (slot.isMarked ? SLOT_FLAG.marked : 0) +
      (slot.isFull ? SLOT_FLAG.full : 0) +
      (slot.isInactive ? SLOT_FLAG.inactive : 0) +
      (slot.isUnheard ? SLOT_FLAG.unheard : 0);
    block.writeUInt32LE(slotFlags, at + SLOT.flags);
  });
  return sealBlock(block);
}

/** `block` is valid as blockState() says. Throws PROTOCOL_FORMAT or PROTOCOL_RANGE for values that can't be. */
export function decodeSuperblock(block: Buffer): Superblock {
  const flags = block.readUInt32LE(AT.flags);
  const has = (bits: number, flag: number): boolean => Math.floor(bits / flag) % 2 === 1;
  const superblock: Superblock = {
    sequence: sequenceOf(block),
    areaId: areaIdOf(block),
    mirrorUuid: getUuid(block, AT.mirrorUuid),
    componentUuid: getUuid(block, AT.componentUuid),
    name: getName(block),
    mediaSizeBytes: readU64LE(block, AT.mediaSize, 'media size'),
    sectorSizeBytes: block.readUInt32LE(AT.sectorSize),
    regionSizeBytes: block.readUInt32LE(AT.regionSize),
    extentSizeBytes: block.readUInt32LE(AT.extentSize),
    logBlockCount: block.readUInt32LE(AT.logBlocks),
    bitmapBlockCount: block.readUInt32LE(AT.bitmapBlocks),
    isRunning: has(flags, FLAG.running),
    isInconsistent: has(flags, FLAG.inconsistent),
    current: getUuid(block, AT.current),
    history: Array.from({ length: HISTORY_COUNT }, (_, index) =>
      getUuid(block, AT.history + index * UUID_BYTES),
    ).filter((uuid) => uuid !== NO_UUID),
    slot: block.readUInt32LE(AT.slot),
    genid: block.readUInt32LE(AT.genid),
    syncid: block.readUInt32LE(AT.syncid),
    modifiedNs: block.readBigUInt64LE(AT.modified),
    slots: Array.from({ length: SLOT_COUNT }, (_, index) => {
      const at = AT.slots + index * SLOT.sizeBytes;
      const slotFlags = block.readUInt32LE(at + SLOT.flags);
      return {
        componentUuid: getUuid(block, at + SLOT.uuid),
        lostAt: getUuid(block, at + SLOT.lostAt),
        isMarked: has(slotFlags, SLOT_FLAG.marked),
        isFull: has(slotFlags, SLOT_FLAG.full),
        isInactive: has(slotFlags, SLOT_FLAG.inactive),
        isUnheard: has(slotFlags, SLOT_FLAG.unheard),
      };
    }),
  };
  checkSuperblock(superblock);
  return superblock;
}

function getName(block: Buffer): string {
  const field = block.subarray(AT.name, AT.name + NAME_BYTES);
  const end = field.indexOf(0);
  const bytes = field.subarray(0, end === -1 ? NAME_BYTES : end);
  const name = bytes.toString('utf8');
  // What does not come back as the same bytes could not be written again.
  if (end === -1 || !Buffer.from(name, 'utf8').equals(bytes)) {
    throw new ProtocolError(
      'PROTOCOL_FORMAT',
      "superblock: the mirror's name is no text that ends with a NUL",
    );
  }
  return name;
}

function checkSuperblock({ slot, slots, componentUuid, mediaSizeBytes, sectorSizeBytes }: Superblock): void {
  if (componentUuid === NO_UUID || slots[slot]?.componentUuid !== componentUuid) {
    throw new ProtocolError('PROTOCOL_FORMAT', 'superblock: it is not in its own table of components');
  }
  const used = slots.map((record) => record.componentUuid).filter((uuid) => uuid !== NO_UUID);
  if (new Set(used).size !== used.length) {
    throw new ProtocolError('PROTOCOL_FORMAT', 'superblock: a component is twice in its table');
  }
  if (!isPowerOfTwo(sectorSizeBytes) || sectorSizeBytes < 512 || sectorSizeBytes > AREA_BLOCK_BYTES) {
    throw new ProtocolError('PROTOCOL_RANGE', `superblock: sectors of ${sectorSizeBytes} bytes`);
  }
  if (mediaSizeBytes === 0 || mediaSizeBytes % sectorSizeBytes !== 0) {
    throw new ProtocolError(
      'PROTOCOL_RANGE',
      `superblock: a media size of ${mediaSizeBytes} bytes is no whole number of sectors`,
    );
  }
}
