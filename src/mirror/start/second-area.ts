import type { BlockDevice } from '../../device/block-device.js';
import { areaOffsetBytes } from '../../protocol/area-layout.js';
import { ProtocolError } from '../../protocol/errors.js';
import { decodeLabel, type DecodedLabel } from '../../protocol/gmirror-label.js';
import type { Superblock } from '../../protocol/superblock.js';
import { AreaStore, type OpenedArea } from '../area/area-store.js';
import { readLabelSector } from '../area/component-store.js';
import { labelIdOf } from '../ids.js';
import type { OpenedProvider } from '../area/provider.js';

/** A provider whose area is the one that its label means. */
export type SettledProvider = OpenedProvider & {
  /** Brings it down to one area file. Before the superblock says anything new; the other one could still count till then. */
  readonly settleArea?: () => Promise<void>;
};

/**
 * A resize that was interrupted leaves two area files: then `area` is the one of the size that the label names. Without
 * a second one nothing is read. Rejects with DeviceError, and everything is closed then.
 */
export async function withFittingArea(
  opened: OpenedProvider,
  labelOf: (device: BlockDevice) => Promise<DecodedLabel | null> = ownLabelOf,
): Promise<SettledProvider> {
  const { device, area: first, secondArea } = opened;
  if (first === null || secondArea === undefined) return opened;
  let second: BlockDevice | null = null;
  try {
    second = await secondArea.open();
    if (second === null) return opened;
    const label = await labelOf(device);
    if (label === null || (await isOf(label, first)) || !(await isOf(label, second))) {
      await second.close();
      return { ...opened, settleArea: () => secondArea.drop() };
    }
    await first.close();
    return { ...opened, area: second, settleArea: () => secondArea.keep() };
  } catch (error) {
    await Promise.allSettled([device.close(), first.close(), second?.close()]);
    throw error;
  }
}

/** The area of a component: in a file of its own, or behind the data of its device. Rejects with DeviceError. */
export const openAreaOf = (
  device: BlockDevice,
  file: BlockDevice | null,
  mediaSizeBytes: number,
): Promise<OpenedArea> => AreaStore.open(file ?? device, file === null ? areaOffsetBytes(mediaSizeBytes) : 0);

const ownLabelOf = async (device: BlockDevice): Promise<DecodedLabel | null> =>
  decodedOf(await readLabelSector(device));

/** Null where there is none that could be believed. */
export function decodedOf(sector: Buffer): DecodedLabel | null {
  try {
    return decodeLabel(sector);
  } catch (error) {
    if (error instanceof ProtocolError) return null;
    throw error;
  }
}

/** Whether an area is that of the component that the label is of, with the size that it names. */
export const isAreaOf = (
  label: DecodedLabel,
  { mirrorUuid, componentUuid, mediaSizeBytes }: Superblock,
): boolean =>
  label.mid === labelIdOf(mirrorUuid) &&
  label.did === labelIdOf(componentUuid) &&
  label.mediaSizeBytes === mediaSizeBytes;

async function isOf(label: DecodedLabel, file: BlockDevice): Promise<boolean> {
  const area = await AreaStore.open(file, 0);
  return area.state === 'ok' && isAreaOf(label, area.store.superblock);
}
