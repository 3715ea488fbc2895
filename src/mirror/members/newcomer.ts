import type { BlockDevice } from '../../device/block-device.js';
import { flushWhereAble } from '../../device/request.js';
import { EXTENT_SIZE_BYTES, areaOffsetBytes, areaSizeBytes } from '../../protocol/area-layout.js';
import { ProtocolError } from '../../protocol/errors.js';
import { REGION_SIZE_BYTES } from '../../protocol/geometry.js';
import { NO_DISK_FLAGS } from '../../protocol/gmirror-flags.js';
import { decodeLabel, labelOffsetBytes, type GmirrorLabel } from '../../protocol/gmirror-label.js';
import { NO_UUID, type SlotRecord, type Uuid } from '../../protocol/superblock.js';
import { AreaStore, type NewSuperblock } from '../area/area-store.js';
import { eraseLabelSector, readLabelSector, writeLabelSector } from '../area/component-store.js';
import { labelIdOf, newAreaId } from '../ids.js';
import { MembershipError } from './membership-error.js';
import type { Mirror } from '../mirror.js';
import type { OpenedProvider } from '../area/provider.js';

/** A component that is to be. */
export interface Newcomer {
  readonly uuid: Uuid;
  /** A free one. */
  readonly slot: number;
  /** The generation of what it has now: one that nobody else is in. */
  readonly before: Uuid;
  readonly priority: number;
  readonly isInactive: boolean;
  readonly hardcodedProvider: string;
}

/** Throws MembershipError, in gmirror's words, for a provider that can't be a component of this mirror. */
export async function checkNewcomer(
  name: string,
  { device, area, newArea }: OpenedProvider,
  mirror: Mirror,
): Promise<void> {
  const { mediaSizeBytes, sectorSizeBytes } = mirror;
  if (!device.can.write || !device.can.read) throw new MembershipError(`Cannot access provider ${name}.`);
  if (await isMember(device, mirror)) throw new MembershipError(`Provider ${name} already inserted.`);
  if (sectorSizeBytes % device.sectorSizeBytes !== 0) {
    throw new MembershipError(`Invalid sectorsize of provider ${name}.`);
  }
  const areaBytes = area === null && newArea === undefined ? areaSizeBytes(mediaSizeBytes) : 0;
  if (areaOffsetBytes(mediaSizeBytes) + areaBytes <= labelOffsetBytes(device)) return;
  const needed = areaOffsetBytes(mediaSizeBytes) + areaBytes + device.sectorSizeBytes;
  throw new MembershipError(
    `Provider ${name} too small. (${device.mediaSizeBytes} bytes; ${needed} are needed)`,
  );
}

async function isMember(device: BlockDevice, { options, components }: Mirror): Promise<boolean> {
  try {
    const { mid, did } = decodeLabel(await readLabelSector(device));
    return (
      mid === labelIdOf(options.uuid) && components.some(({ identity }) => labelIdOf(identity.uuid) === did)
    );
  } catch (error) {
    if (error instanceof ProtocolError) return false;
    throw error;
  }
}

/** How the table of components has it: it misses everything. */
export const slotOfNewcomer = ({ uuid, before, isInactive }: Newcomer): SlotRecord => ({
  componentUuid: uuid,
  lostAt: before,
  isMarked: true,
  isFull: true,
  isInactive,
  isUnheard: false,
});

/**
 * Makes a provider a component that misses everything, over whatever is there: nobody takes it for one that is in step,
 * and as long as the others do not know it, for none at all. Resolves when that is on stable storage. Rejects with
 * DeviceError. `all`: how many components there are with it.
 */
export async function writeNewcomer(
  { device, area, newArea }: OpenedProvider,
  mirror: Mirror,
  newcomer: Newcomer,
  all: number,
): Promise<void> {
  const { mediaSizeBytes, sectorSizeBytes, options, journal } = mirror;
  // As gmirror's insert does it: syncid 0 is older than any. And it may be one that failed here and was taken out: with an
  // older genid its cache is not believed (Component.isCacheDoubtful).
  const ids = { genid: 0, syncid: 0 };
  await eraseLabelSector(device);
  const superblock: NewSuperblock = {
    ...ids,
    areaId: newAreaId(options.random),
    mirrorUuid: options.uuid,
    componentUuid: newcomer.uuid,
    name: options.name,
    mediaSizeBytes,
    sectorSizeBytes,
    regionSizeBytes: REGION_SIZE_BYTES,
    extentSizeBytes: EXTENT_SIZE_BYTES,
    isRunning: false,
    isInconsistent: true,
    current: newcomer.before,
    history: [],
    slot: newcomer.slot,
    modifiedNs: 0n,
    // Until it is a component it has nothing to say of the others, least of all that they miss something.
    slots: journal.slots
      .map((record) => ({ ...record, lostAt: NO_UUID }))
      .with(newcomer.slot, slotOfNewcomer(newcomer)),
  };
  if (newArea !== undefined) await newArea.make(superblock);
  else if (area !== null) await AreaStore.create(area, 0, superblock);
  else await AreaStore.create(device, areaOffsetBytes(mediaSizeBytes), superblock);
  await writeLabelSector(device, {
    ...labelOf(mirror, newcomer),
    ...ids,
    all,
    providerSizeBytes: device.mediaSizeBytes,
  });
  await flushWhereAble(device);
}

function labelOf(
  { mediaSizeBytes, sectorSizeBytes, options, settings }: Mirror,
  { uuid, priority, isInactive, hardcodedProvider }: Newcomer,
): Omit<GmirrorLabel, 'genid' | 'syncid' | 'all' | 'providerSizeBytes'> {
  const {
    balance = 0,
    sliceBytes = options.sliceBytes,
    noAutoSync = false,
    noFailSync = false,
  } = settings ?? {};
  return {
    name: Buffer.from(options.name, 'utf8').toString('latin1'),
    mid: labelIdOf(options.uuid),
    did: labelIdOf(uuid),
    priority,
    sliceBytes,
    balance,
    mediaSizeBytes,
    sectorSizeBytes,
    syncOffsetBytes: 0,
    mirrorFlags: { noAutoSync, noFailSync, otherBits: [] },
    diskFlags: { ...NO_DISK_FLAGS, inactive: isInactive },
    hardcodedProvider,
  };
}
