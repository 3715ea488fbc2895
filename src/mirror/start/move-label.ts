import type { BlockDevice } from '../../device/block-device.js';
import { flushWhereAble, request } from '../../device/request.js';
import { areaOffsetBytes } from '../../protocol/area-layout.js';
import { ProtocolError } from '../../protocol/errors.js';
import {
  decodeLabel,
  type DecodedLabel,
  hasLabelMagic,
  LABEL_MAGIC,
  labelOffsetBytes,
} from '../../protocol/gmirror-label.js';
import { AreaStore } from '../area/area-store.js';
import { readLabelSector, writeLabelSector } from '../area/component-store.js';
import { labelIdOf } from '../ids.js';
import type { ProviderOpener } from './provider.js';
import { ResizeError } from './resize-error.js';

const SEARCHED_BYTES = 1_048_576;

/**
 * Brings the label of a component of the mirror `name` to the end of its provider, which has grown. That it grew changed
 * the time of an image, so from then on nobody takes that for a sign that somebody wrote to it. Rejects with ResizeError
 * for what can't be resized, and with DeviceError.
 */
export async function moveLabel(opener: ProviderOpener, name: string): Promise<void> {
  const { device, area, newArea } = await opener.open();
  try {
    if (area !== null || newArea !== undefined) {
      throw new ResizeError(
        `${opener.name} has its private area in a file; a mirror with such a component can't be resized`,
      );
    }
    if (hasLabelMagic(await readLabelSector(device))) return;
    const found = await findLabel(device, Buffer.from(name, 'utf8').toString('latin1'));
    if (found === null) throw new ResizeError(`${opener.name} has no label of mirror '${name}'`);
    await bringToEnd(device, found);
  } finally {
    await Promise.allSettled([device.close(), area?.close()]);
  }
}

/**
 * The same for a component whose provider had that size when its label was read last: true if it has grown since, and the
 * label is at its end now. Anything else is left alone. Rejects with DeviceError.
 */
export async function followProvider(opener: ProviderOpener, providerSizeBytes: number): Promise<boolean> {
  const { device, area } = await opener.open();
  try {
    const lengthBytes = device.sectorSizeBytes;
    const at = providerSizeBytes - lengthBytes;
    if (area !== null || device.mediaSizeBytes <= providerSizeBytes || at < 0) return false;
    const sector = Buffer.alloc(lengthBytes);
    await request(device, 'read', { offsetBytes: at, lengthBytes }, sector);
    const found = await readFound(device, sector, at);
    if (found !== null) await bringToEnd(device, found);
    return found !== null;
  } finally {
    await Promise.allSettled([device.close(), area?.close()]);
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
  readonly store: AreaStore;
}

/** From the end on: that of a mirror inside this one comes before it. */
async function findLabel(device: BlockDevice, name: string): Promise<FoundLabel | null> {
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
        const found = await readFound(device, piece.subarray(at, at + sectorBytes), start + at);
        if (found?.label.name === name) return found;
      }
      at = at === 0 ? -1 : piece.lastIndexOf(LABEL_MAGIC, at - 1, 'latin1');
    }
    end = start;
  }
  return null;
}

/** Null unless it is the label of a whole component that ended right behind it. */
async function readFound(device: BlockDevice, sector: Buffer, at: number): Promise<FoundLabel | null> {
  const label = decodedOf(Buffer.from(sector));
  if (label?.providerSizeBytes !== at + device.sectorSizeBytes) return null;
  const area = await AreaStore.open(device, areaOffsetBytes(label.mediaSizeBytes));
  if (area.state !== 'ok') return null;
  const { mirrorUuid, componentUuid, mediaSizeBytes } = area.store.superblock;
  const isIts =
    label.mid === labelIdOf(mirrorUuid) &&
    label.did === labelIdOf(componentUuid) &&
    label.mediaSizeBytes === mediaSizeBytes;
  return isIts ? { label, at, store: area.store } : null;
}

function decodedOf(sector: Buffer): DecodedLabel | null {
  try {
    return decodeLabel(sector);
  } catch (error) {
    if (error instanceof ProtocolError) return null;
    throw error;
  }
}
