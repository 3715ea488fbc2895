import type { BlockDevice } from '../../device/block-device.js';
import { flushWhereAble, request } from '../../device/request.js';
import { areaSizeBytes } from '../../protocol/area-layout.js';
import type { ByteRange } from '../../protocol/geometry.js';
import {
  type DecodedLabel,
  hasLabelMagic,
  LABEL_MAGIC,
  labelOffsetBytes,
} from '../../protocol/gmirror-label.js';
import type { AreaStore } from '../area/area-store.js';
import { readLabelSector, writeLabelSector } from '../area/component-store.js';
import type { OpenedProvider, ProviderOpener } from '../area/provider.js';
import { ResizeError } from './resize-error.js';
import { decodedOf, isAreaOf, openAreaOf, withFittingArea } from './second-area.js';

const SEARCHED_BYTES = 1_048_576;
/** A provider may have been so much larger than the smallest one. */
const NEAR_BYTES = 16_777_216;

/**
 * Brings the label of a component of the mirror `name` to the end of its provider, which has grown. That it grew changed
 * the time of an image, so from then on nobody takes that for a sign that somebody wrote to it. Rejects with ResizeError
 * for what can't be resized, and with DeviceError. `mirrorBytes`: what the mirror has as another component says, null if
 * none has yet; resolves with what this one says. Most labels are not far behind that.
 */
export async function moveLabel(
  opener: ProviderOpener,
  name: string,
  mirrorBytes: number | null,
): Promise<number | null> {
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
    const last = await readLabelSector(device);
    if (hasLabelMagic(last)) return decodedOf(last)?.mediaSizeBytes ?? null;
    const labelName = Buffer.from(name, 'utf8').toString('latin1');
    for (const place of placesOf(opener, device, mirrorBytes)) {
      found = await findLabel(opened, labelName, place);
      if (found !== null) break;
    }
    if (found === null) throw new ResizeError(`${opener.name} has no label of mirror '${name}'`);
    await bringToEnd(device, found);
    return found.label.mediaSizeBytes;
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

/** Where the label may be, the likeliest first: where it was, near where that of another component was, anywhere. */
function placesOf(
  { lastSizeBytes }: ProviderOpener,
  device: BlockDevice,
  mirrorBytes: number | null,
): ByteRange[] {
  const endBytes = labelOffsetBytes(device);
  const sectorBytes = device.sectorSizeBytes;
  const inside = (offsetBytes: number, lengthBytes: number): ByteRange[] =>
    offsetBytes >= 0 && offsetBytes < endBytes
      ? [{ offsetBytes, lengthBytes: Math.min(lengthBytes, endBytes - offsetBytes) }]
      : [];
  const near = mirrorBytes === null ? -1 : mirrorBytes - (mirrorBytes % sectorBytes);
  return [
    ...inside((lastSizeBytes ?? 0) - sectorBytes, sectorBytes),
    ...inside(near, areaSizeBytes(Math.max(1, near)) + NEAR_BYTES),
    ...inside(0, endBytes),
  ];
}

/** From the end of the place on: that of a mirror inside this one comes before it. */
async function findLabel(
  opened: OpenedProvider,
  name: string,
  { offsetBytes, lengthBytes: placeBytes }: ByteRange,
): Promise<FoundLabel | null> {
  const { device } = opened;
  const sectorBytes = device.sectorSizeBytes;
  const buffer = Buffer.alloc(SEARCHED_BYTES);
  let end = offsetBytes + placeBytes;
  while (end > offsetBytes) {
    end = await withoutHole(opened, offsetBytes, end);
    const lengthBytes = Math.min(SEARCHED_BYTES, end - offsetBytes);
    if (lengthBytes === 0) return null;
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

/** `endBytes`, or less if there is a hole before it. */
async function withoutHole(
  { nextAllocated }: OpenedProvider,
  startBytes: number,
  endBytes: number,
): Promise<number> {
  let end = endBytes;
  for (let jumpBytes = SEARCHED_BYTES; nextAllocated !== undefined && end > startBytes; jumpBytes *= 2) {
    const from = Math.max(startBytes, end - jumpBytes);
    const data = await nextAllocated(from).catch(() => ({ offsetBytes: from }));
    if (data !== null && data.offsetBytes < end) return end;
    end = from;
  }
  return end;
}

/** Null unless it is the label of a whole component that ended right behind it. */
async function readFound(opened: OpenedProvider, sector: Buffer, at: number): Promise<FoundLabel | null> {
  const { device } = opened;
  const label = decodedOf(Buffer.from(sector));
  if (label?.providerSizeBytes !== at + device.sectorSizeBytes) return null;
  const { area: file } = await withFittingArea(opened, () => Promise.resolve(label));
  const area = await openAreaOf(device, file, label.mediaSizeBytes);
  return area.state === 'ok' && isAreaOf(label, area.store.superblock)
    ? { label, at, file, store: area.store }
    : null;
}
