import type { BlockDevice } from '../../device/block-device.js';
import { flushWhereAble, request } from '../../device/request.js';
import { areaOffsetBytes } from '../../protocol/area-layout.js';
import {
  type DecodedLabel,
  hasLabelMagic,
  LABEL_MAGIC,
  labelOffsetBytes,
} from '../../protocol/gmirror-label.js';
import { AreaStore } from '../area/area-store.js';
import { readLabelSector, writeLabelSector } from '../area/component-store.js';
import type { OpenedProvider, ProviderOpener } from './provider.js';
import { ResizeError } from './resize-error.js';
import { decodedOf, isAreaOf, withFittingArea } from './second-area.js';

const SEARCHED_BYTES = 1_048_576;

/**
 * Brings the label of a component of the mirror `name` to the end of its provider, which has grown. That it grew changed
 * the time of an image, so from then on nobody takes that for a sign that somebody wrote to it. Rejects with ResizeError
 * for what can't be resized, and with DeviceError.
 */
export async function moveLabel(opener: ProviderOpener, name: string): Promise<void> {
  const opened = await opener.open();
  const { device, area, secondArea, newArea } = opened;
  let found: FoundLabel | null = null;
  try {
    if (newArea !== undefined)
      throw new ResizeError(`${opener.name} has no private area: ${newArea.name} is not there`);
    if (area !== null && secondArea === undefined) {
      throw new ResizeError(
        `${opener.name} has its private area on a disk, where there is no room for a second one; a mirror with such a ` +
          "component can't be resized",
      );
    }
    if (hasLabelMagic(await readLabelSector(device))) return;
    found = await findLabel(opened, Buffer.from(name, 'utf8').toString('latin1'));
    if (found === null) throw new ResizeError(`${opener.name} has no label of mirror '${name}'`);
    await bringToEnd(device, found);
  } finally {
    await Promise.allSettled([device.close(), area?.close(), found?.file?.close()]);
  }
}

/**
 * The same for a component whose provider had that size when its label was read last: true if it has grown since, and the
 * label is at its end now. Anything else is left alone. Rejects with DeviceError.
 */
export async function followProvider(opener: ProviderOpener, providerSizeBytes: number): Promise<boolean> {
  const opened = await opener.open();
  const { device, area } = opened;
  let found: FoundLabel | null = null;
  try {
    const lengthBytes = device.sectorSizeBytes;
    const at = providerSizeBytes - lengthBytes;
    if (device.mediaSizeBytes <= providerSizeBytes || at < 0) return false;
    const sector = Buffer.alloc(lengthBytes);
    await request(device, 'read', { offsetBytes: at, lengthBytes }, sector);
    found = await readFound(opened, sector, at);
    if (found !== null) await bringToEnd(device, found);
    return found !== null;
  } finally {
    await Promise.allSettled([device.close(), area?.close(), found?.file?.close()]);
  }
}

async function bringToEnd(device: BlockDevice, { label, at, store }: FoundLabel): Promise<void> {
  await store.writeSuperblock({ modifiedNs: 0n });
  await writeLabelSector(device, { ...label, providerSizeBytes: device.mediaSizeBytes });
  await flushWhereAble(device);
  const sectorBytes = device.sectorSizeBytes;
  await request(device, 'write', { offsetBytes: at, lengthBytes: sectorBytes }, Buffer.alloc(sectorBytes));
}

interface FoundLabel {
  readonly label: DecodedLabel;
  readonly at: number;
  /** Of its area, where that is in one; open. */
  readonly file: BlockDevice | null;
  readonly store: AreaStore;
}

/** From the end on: that of a mirror inside this one comes before it. */
async function findLabel(opened: OpenedProvider, name: string): Promise<FoundLabel | null> {
  const { device } = opened;
  const sectorBytes = device.sectorSizeBytes;
  const buffer = Buffer.alloc(SEARCHED_BYTES);
  let end = labelOffsetBytes(device);
  while (end > 0) {
    const lengthBytes = Math.min(SEARCHED_BYTES, end);
    const start = end - lengthBytes;
    await request(device, 'read', { offsetBytes: start, lengthBytes }, buffer);
    const piece = buffer.subarray(0, lengthBytes);
    let at = piece.lastIndexOf(LABEL_MAGIC, undefined, 'latin1');
    while (at !== -1) {
      if ((start + at) % sectorBytes === 0) {
        const found = await readFound(opened, piece.subarray(at, at + sectorBytes), start + at);
        if (found?.label.name === name) return found;
      }
      at = at === 0 ? -1 : piece.lastIndexOf(LABEL_MAGIC, at - 1, 'latin1');
    }
    end = start;
  }
  return null;
}

/** Null unless it is the label of a whole component that ended right behind it. */
async function readFound(opened: OpenedProvider, sector: Buffer, at: number): Promise<FoundLabel | null> {
  const { device } = opened;
  const label = decodedOf(Buffer.from(sector));
  if (label?.providerSizeBytes !== at + device.sectorSizeBytes) return null;
  const { area: file } = await withFittingArea(opened, () => Promise.resolve(label));
  const area = await AreaStore.open(
    file ?? device,
    file === null ? areaOffsetBytes(label.mediaSizeBytes) : 0,
  );
  return area.state === 'ok' && isAreaOf(label, area.store.superblock)
    ? { label, at, file, store: area.store }
    : null;
}
