import type { ClientTls } from '../client/options.js';
import { findSuperblock, type FoundSuperblock } from '../mirror/area/area-superblock.js';
import { AREA_BLOCK_BYTES } from '../protocol/area-block.js';
import { areaOffsetBytes, superblockAt } from '../protocol/area-layout.js';
import { NO_UUID, type SlotRecord, type Superblock, type Uuid } from '../protocol/superblock.js';
import { request } from '../device/request.js';
import { withProvider } from './provider-labels.js';

/** Where a component's private area is to be found. */
export interface AreaSource {
  readonly provider: string;
  /** The file that holds it; null if it is on the provider. */
  readonly area: string | null;
  /** As the label says. */
  readonly mediaSizeBytes: number;
}

/**
 * The superblock of a private area (docs/on-disk-format.md, "Superblock"), which is not changed. One of its two blocks is
 * enough. Throws what opening throws.
 */
export function readSuperblock(source: AreaSource, tls: ClientTls): Promise<FoundSuperblock> {
  const { provider, area, mediaSizeBytes } = source;
  return withProvider(area ?? provider, 'ro', tls, async ({ device }) => {
    const startBytes = area === null ? areaOffsetBytes(mediaSizeBytes) : 0;
    const roomBytes = device.mediaSizeBytes - startBytes;
    if (roomBytes < 2 * AREA_BLOCK_BYTES) return { state: 'none' };
    const read = async (copy: 0 | 1): Promise<Buffer | null> => {
      const block = Buffer.alloc(AREA_BLOCK_BYTES);
      const range = { offsetBytes: startBytes + superblockAt(copy), lengthBytes: AREA_BLOCK_BYTES };
      return await request(device, 'read', range, block).then(
        () => block,
        () => null,
      );
    };
    return findSuperblock([await read(0), await read(1)], { startBytes, roomBytes });
  });
}

/** The longest keys end in this column, as in a dump of a label. */
const KEY_WIDTH = 10;

/** A superblock for people, with the empty line that follows. */
export function formatSuperblock(where: string, superblock: Superblock): string {
  const { sequence, mirrorUuid, componentUuid, slot, current, history } = superblock;
  const pairs: readonly (readonly [string, string])[] = [
    ['sequence', String(sequence)],
    ['mirror', mirrorUuid],
    ['component', `${componentUuid} (slot ${slot})`],
    ['state', stateOf(superblock)],
    ['generation', current],
    ...column('before', history),
    ...column('others', othersOf(superblock).map(otherText)),
  ];
  const lines = pairs.map(([key, value]) => `${key.padStart(KEY_WIDTH)}${key === '' ? ' ' : ':'} ${value}\n`);
  return `Private area on ${where}:\n${lines.join('')}\n`;
}

const column = (key: string, values: readonly string[]): (readonly [string, string])[] =>
  values.map((value, index) => [index === 0 ? key : '', value]);

const othersOf = ({ slots, slot }: Superblock): SlotRecord[] =>
  slots.filter(({ componentUuid }, index) => index !== slot && componentUuid !== NO_UUID);

function stateOf({ isRunning, isInconsistent }: Superblock): string {
  const run = isRunning ? 'RUNNING: a run has begun, and has not ended cleanly' : 'ended cleanly';
  return isInconsistent ? `${run}; INCONSISTENT: a copy to it has not ended` : run;
}

function otherText({ componentUuid, lostAt, isMarked, isFull, isInactive, isUnheard }: SlotRecord): string {
  const notes = [
    lostAt === NO_UUID ? 'in step' : `lost at generation ${lostAt}`,
    isFull ? 'everything is to be copied to it' : isMarked ? 'has marked regions' : null,
    isInactive ? 'out of use' : null,
    isUnheard ? 'was missing at a start' : null,
  ];
  return `${componentUuid} ${notes.filter((note) => note !== null).join(', ')}`;
}

/** The same for programs: of the slots those that are used, each with its number; null where nobody is lost or nothing is known. */
export function superblockAsJson({ areaId, slots, modifiedNs, ...rest }: Superblock): object {
  const known = (uuid: Uuid): Uuid | null => (uuid === NO_UUID ? null : uuid);
  return {
    areaId: areaId.toString('hex'),
    ...rest,
    modifiedNs: modifiedNs === 0n ? null : String(modifiedNs),
    slots: slots.flatMap((record, slot) =>
      record.componentUuid === NO_UUID ? [] : [{ slot, ...record, lostAt: known(record.lostAt) }],
    ),
  };
}
