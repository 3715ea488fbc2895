import type { BlockDevice } from '../../device/block-device.js';
import { FileDevice } from '../../device/file-device.js';
import type { RandomSource } from '../../device/random.js';
import { flushWhereAble, request } from '../../device/request.js';
import { EXTENT_SIZE_BYTES, areaOffsetBytes, mediaSizeFor } from '../../protocol/area-layout.js';
import { ProtocolError, assert } from '../../protocol/errors.js';
import { REGION_SIZE_BYTES } from '../../protocol/geometry.js';
import { NO_DISK_FLAGS, balanceNumber } from '../../protocol/gmirror-flags.js';
import type { GmirrorLabel } from '../../protocol/gmirror-label.js';
import { FREE_SLOT, NO_UUID, SLOT_COUNT, type SlotRecord, type Uuid } from '../../protocol/superblock.js';
import { createAreaFile } from '../area/area-file.js';
import { AreaStore, type NewSuperblock } from '../area/area-store.js';
import type { BalanceAlgorithm } from '../balance.js';
import { eraseLabelSector, writeLabelSector } from '../area/component-store.js';
import { labelIdOf, newAreaId, newUuid } from '../ids.js';

export interface NewMirror {
  /** Up to 15 bytes, as the label has room for. */
  readonly name: string;
  /** Whole providers, 1 to 8; open for reading and writing, and nobody else uses them. The caller closes them. */
  readonly devices: readonly BlockDevice[];
  /** By device: the path of the area file that is made for it; null, or left out, for an area on the device. */
  readonly areaPaths?: readonly (string | null)[];
  readonly balance: BalanceAlgorithm;
  readonly sliceBytes: number;
  readonly noAutoSync: boolean;
  readonly noFailSync: boolean;
  /** By device: its priority; null, or left out, for its place among them, as the kernel's label has it. */
  readonly priorities?: readonly (number | null)[];
  /** By device: the only name under which the kernel takes it; empty, or left out, for any. */
  readonly hardcodedProviders?: readonly string[];
  readonly random: RandomSource;
  /** A component is finished and on stable storage, where it can flush. */
  readonly stored?: (device: BlockDevice) => void;
}

export interface MirrorGeometry {
  readonly mediaSizeBytes: number;
  readonly sectorSizeBytes: number;
}

/**
 * What a mirror over these providers has: the size that the smallest can carry beside private area and label, and
 * sectors that every provider can write. Throws ProtocolError (PROTOCOL_RANGE) with the provider's name.
 */
export function geometryOf(
  devices: readonly BlockDevice[],
  areaPaths: readonly (string | null)[] = [],
): MirrorGeometry {
  const sizes = devices.map((device, index) => {
    try {
      const hasAreaFile = typeof areaPaths[index] === 'string';
      return mediaSizeFor(device.mediaSizeBytes, device.sectorSizeBytes, hasAreaFile);
    } catch (cause) {
      if (!(cause instanceof ProtocolError)) throw cause;
      throw new ProtocolError(cause.code, `${device.name} can't be a component: ${cause.message}`, { cause });
    }
  });
  // Sector sizes are powers of two, so the largest is the lowest common multiple.
  const sectorSizeBytes = Math.max(...devices.map((device) => device.sectorSizeBytes));
  return { mediaSizeBytes: Math.min(...sizes), sectorSizeBytes };
}

/**
 * Makes providers the components of a new mirror, over whatever is behind its data. Data is not touched: unless all of it
 * is known to be zeros everywhere, the first component is the source, and everything is copied from it to the others
 * when the mirror starts; the kernel's gmirror would do the same. Resolves when all is on stable storage. Rejects with
 * DeviceError or ProtocolError; some components may be written then. An area file must not exist before.
 */
export async function createMirror(mirror: NewMirror): Promise<void> {
  const { devices } = mirror;
  assert(devices.length > 0 && devices.length <= SLOT_COUNT, 'a mirror has 1 to 8 components');
  const geometry = geometryOf(devices, mirror.areaPaths);
  const blank = await Promise.all(devices.map((device) => isBlank(device, geometry.mediaSizeBytes)));
  const plan = planOf(mirror, geometry, blank.includes(false));
  // First what makes them components of something else goes, everywhere: an old label never stands over a new area.
  for (const device of devices) await eraseLabelSector(device);
  for (const [slot, device] of devices.entries()) {
    const areaPath = mirror.areaPaths?.[slot] ?? null;
    const superblock = plan.superblock(slot);
    if (areaPath !== null) await (await createAreaFile(areaPath, superblock)).close();
    else await AreaStore.create(device, areaOffsetBytes(geometry.mediaSizeBytes), superblock);
  }
  // The labels come last, over areas that are on stable storage: what has none is no component.
  for (const [slot, device] of devices.entries()) {
    await writeLabelSector(device, plan.label(slot));
    await flushWhereAble(device);
    mirror.stored?.(device);
  }
}

interface Plan {
  superblock(slot: number): NewSuperblock;
  label(slot: number): GmirrorLabel;
}

/** `mustCopy`: all components but the first have other data, and count as lost in an earlier generation. */
function planOf(mirror: NewMirror, geometry: MirrorGeometry, mustCopy: boolean): Plan {
  const { devices, random } = mirror;
  const uuid = (): Uuid => newUuid(random);
  const [mirrorUuid, current, before] = [uuid(), uuid(), uuid()];
  const componentUuids = distinct(devices.length, uuid);
  const isFull = (slot: number): boolean => mustCopy && slot > 0;
  // As gmirror's insert does it: a component with syncid 0 is older than any.
  const ids = (slot: number) => ({ genid: 0, syncid: isFull(slot) ? 0 : 1 });
  const slots = Array.from({ length: SLOT_COUNT }, (_, slot): SlotRecord => {
    const componentUuid = componentUuids[slot];
    if (componentUuid === undefined) return FREE_SLOT;
    return {
      componentUuid,
      lostAt: isFull(slot) ? before : NO_UUID,
      isMarked: isFull(slot),
      isFull: isFull(slot),
      isInactive: false,
      isUnheard: false,
    };
  });
  const deviceOf = (slot: number): BlockDevice => {
    const device = devices[slot];
    assert(device !== undefined, 'a slot without its device');
    return device;
  };
  const uuidOf = (slot: number): Uuid => slots[slot]?.componentUuid ?? NO_UUID;
  return {
    superblock: (slot) => ({
      areaId: newAreaId(random),
      mirrorUuid,
      componentUuid: uuidOf(slot),
      name: mirror.name,
      ...geometry,
      regionSizeBytes: REGION_SIZE_BYTES,
      extentSizeBytes: EXTENT_SIZE_BYTES,
      isRunning: false,
      isInconsistent: isFull(slot),
      current: isFull(slot) ? before : current,
      history: mustCopy && slot === 0 ? [before] : [],
      slot,
      ...ids(slot),
      modifiedNs: 0n,
      slots,
    }),
    label: (slot) => ({
      name: Buffer.from(mirror.name, 'utf8').toString('latin1'),
      mid: labelIdOf(mirrorUuid),
      did: labelIdOf(uuidOf(slot)),
      all: devices.length,
      ...ids(slot),
      priority: mirror.priorities?.[slot] ?? slot,
      sliceBytes: mirror.sliceBytes,
      balance: balanceNumber(mirror.balance === 'prefer-local' ? 'prefer' : mirror.balance),
      ...geometry,
      syncOffsetBytes: 0,
      mirrorFlags: { noAutoSync: mirror.noAutoSync, noFailSync: mirror.noFailSync, otherBits: [] },
      diskFlags: NO_DISK_FLAGS,
      hardcodedProvider: mirror.hardcodedProviders?.[slot] ?? '',
      providerSizeBytes: deviceOf(slot).mediaSizeBytes,
    }),
  };
}

/** UUIDs whose first four bytes differ too: the kernel refuses two components with one id. */
function distinct(count: number, uuid: () => Uuid): Uuid[] {
  const byId = new Map<number, Uuid>();
  while (byId.size < count) {
    const drawn = uuid();
    byId.set(labelIdOf(drawn), drawn);
  }
  return [...byId.values()];
}

/** So much is read to learn whether it is all zeros; more would take a while. */
const READ_BYTES_MAX = 64 * 1_048_576;
const PIECE_BYTES = 131_072;

/** Whether the data is known to be all zeros: a file of holes, or small and read. */
async function isBlank(device: BlockDevice, mediaSizeBytes: number): Promise<boolean> {
  if (device instanceof FileDevice && device.kind === 'file') {
    try {
      const data = await device.nextAllocated(0);
      if (data === null || data.offsetBytes >= mediaSizeBytes) return true;
    } catch {
      // A file system without a map of holes; it is read like any other.
    }
  }
  if (mediaSizeBytes > READ_BYTES_MAX) return false;
  const buffer = Buffer.alloc(PIECE_BYTES);
  const zeroes = Buffer.alloc(PIECE_BYTES);
  for (let atBytes = 0; atBytes < mediaSizeBytes; atBytes += PIECE_BYTES) {
    const lengthBytes = Math.min(PIECE_BYTES, mediaSizeBytes - atBytes);
    await request(device, 'read', { offsetBytes: atBytes, lengthBytes }, buffer);
    if (buffer.compare(zeroes, 0, lengthBytes, 0, lengthBytes) !== 0) return false;
  }
  return true;
}
