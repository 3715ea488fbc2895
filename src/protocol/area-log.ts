import { AREA_BLOCK_BYTES, AREA_BODY_AT, AREA_KIND, newBlock, sealBlock } from './area-block.js';
import { ProtocolError, assert } from './errors.js';

/** Source: docs/on-disk-format.md, "Activity log". */
const AT = { count: AREA_BODY_AT, extents: 64 } as const;
/** Extents that one transaction holds at most. */
export const LOG_EXTENTS_MAX = 1000;

export interface LogTransaction {
  readonly sequence: number;
  /** 8 bytes. */
  readonly areaId: Buffer;
  /** Indices, ascending, at most LOG_EXTENTS_MAX. */
  readonly extents: readonly number[];
}

/** A sealed block in memory of its own. */
export function encodeLog({ sequence, areaId, extents }: LogTransaction): Buffer {
  assert(extents.length <= LOG_EXTENTS_MAX, `activity log: more than ${LOG_EXTENTS_MAX} extents`);
  const block = newBlock({ kind: AREA_KIND.log, sequence, areaId });
  block.writeUInt32LE(extents.length, AT.count);
  extents.forEach((extent, index) => {
    assert(index === 0 || extent > (extents[index - 1] ?? 0), 'activity log: extents are not ascending');
    block.writeUInt32LE(extent, AT.extents + index * 4);
  });
  return sealBlock(block);
}

/**
 * The extents of a block that is valid as blockState() says. Throws PROTOCOL_RANGE or PROTOCOL_FORMAT for more than can
 * be, for an extent from `extentCount` on and for a wrong order.
 */
export function decodeLog(block: Buffer, extentCount: number): number[] {
  assert(block.length === AREA_BLOCK_BYTES, 'activity log: wrong size of a block');
  const count = block.readUInt32LE(AT.count);
  if (count > LOG_EXTENTS_MAX) throw new ProtocolError('PROTOCOL_RANGE', `activity log: ${count} extents`);
  const extents: number[] = [];
  let last = -1;
  for (let index = 0; index < count; index++) {
    const extent = block.readUInt32LE(AT.extents + index * 4);
    if (extent <= last) throw new ProtocolError('PROTOCOL_FORMAT', 'activity log: extents are not ascending');
    if (extent >= extentCount) throw new ProtocolError('PROTOCOL_RANGE', `activity log: extent ${extent}`);
    extents.push(extent);
    last = extent;
  }
  return extents;
}
