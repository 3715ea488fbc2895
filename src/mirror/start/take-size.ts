import type { BlockDevice } from '../../device/block-device.js';
import { flushWhereAble } from '../../device/request.js';
import { areaOffsetBytes, areaSizeBytes } from '../../protocol/area-layout.js';
import { decodeLabel, labelOffsetBytes } from '../../protocol/gmirror-label.js';
import type { Superblock } from '../../protocol/superblock.js';
import { readLabelSector, writeLabelSector } from '../area/component-store.js';
import type { ProviderOpener } from '../area/provider.js';
import { openAreaOf } from './second-area.js';

/**
 * Where a resize was interrupted a component has two private areas: that of its old size, and a second one that was made
 * of it for the new size. If both say the same, the component was not used since, and its label may name either size; it
 * names `mediaSizeBytes` when this resolves with true. Rejects with DeviceError, and ProtocolError where there is no label.
 */
export async function takeSize(opener: ProviderOpener, mediaSizeBytes: number): Promise<boolean> {
  const { device, area, secondArea } = await opener.open();
  let beside: BlockDevice | null = null;
  try {
    if (area !== null) beside = (await secondArea?.open()) ?? null;
    const label = decodeLabel(await readLabelSector(device));
    if (label.mediaSizeBytes === mediaSizeBytes) return true;
    const [first = 0, second = 0] = [label.mediaSizeBytes, mediaSizeBytes].sort((one, other) => one - other);
    if (area !== null && beside === null) return false;
    const endBytes = area === null ? areaOffsetBytes(second) + areaSizeBytes(second) : second;
    if (endBytes > labelOffsetBytes(device)) return false;
    const before = await openAreaOf(device, area, first);
    const after = await openAreaOf(device, beside, second);
    if (before.state !== 'ok' || after.state !== 'ok') return false;
    if (before.store.superblock.mediaSizeBytes !== first) return false;
    if (after.store.superblock.mediaSizeBytes !== second) return false;
    if (!isMadeOf(after.store.superblock, before.store.superblock)) return false;
    await writeLabelSector(device, { ...label, mediaSizeBytes });
    await flushWhereAble(device);
    return true;
  } finally {
    await Promise.allSettled([device.close(), area?.close(), beside?.close()]);
  }
}

/** Whether the second area was made of the first as that is now, and says nothing more by now. */
function isMadeOf(second: Superblock, first: Superblock): boolean {
  const known = ({ mirrorUuid, componentUuid, name, slot, current, history, slots, ...rest }: Superblock) => [
    ...[mirrorUuid, componentUuid, name, slot, current, history, slots],
    ...[rest.genid, rest.syncid, rest.sectorSizeBytes, rest.isInconsistent],
  ];
  return !first.isRunning && JSON.stringify(known(first)) === JSON.stringify(known(second));
}
