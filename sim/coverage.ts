import { DeviceError, type BlockDevice, type BlockIo } from '../src/device/block-device.js';
import { AreaStore } from '../src/mirror/area-store.js';
import type { RegionBitmap } from '../src/mirror/region-bitmap.js';
import { EXTENT_SIZE_BYTES, areaOffsetBytes } from '../src/protocol/area-layout.js';
import { decodeLabel } from '../src/protocol/gmirror-label.js';
import { REGION_SIZE_BYTES } from '../src/protocol/geometry.js';
import { readSector } from './content.js';
import { SECTOR_BYTES, differingChunks, readChunks, type Chunks } from './disk.js';

/** What a disk would be found to hold, read only. It answers at once, so that nothing changes meanwhile. */
class ImageDevice implements BlockDevice {
  readonly sectorSizeBytes = SECTOR_BYTES;
  readonly can = { read: true, write: false, flush: false, trim: false, writeZeroes: false, checksum: false };

  constructor(
    readonly name: string,
    private readonly chunks: Chunks,
    readonly mediaSizeBytes: number,
  ) {}

  start(io: BlockIo): void {
    const { buffer, offsetBytes, bufferAt, lengthBytes } = io;
    if (buffer !== null)
      readChunks(this.chunks, offsetBytes, buffer.subarray(bufferAt, bufferAt + lengthBytes));
    const error = buffer === null ? new DeviceError('DEVICE_IO', 'EIO', 'an image is only read') : null;
    queueMicrotask(() => io.done(error));
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

export interface Image {
  readonly name: string;
  readonly chunks: Chunks;
  readonly sizeBytes: number;
}

interface Memory {
  readonly isRunning: boolean;
  readonly log: readonly number[] | 'damaged';
  /** By slot. */
  readonly bitmaps: readonly RegionBitmap[];
  readonly isFull: readonly boolean[];
}

/**
 * What is wrong with images of all components, by slot: label and superblock can be read, and wherever one that was in
 * step differs from another, what it remembers says so. Null if nothing is. Takes no simulated time.
 */
export async function coverageProblem(
  images: readonly Image[],
  inStep: readonly number[],
  mediaSizeBytes: number,
): Promise<string | null> {
  for (const [slot, image] of images.entries()) {
    const memory = await memoryOf(image, mediaSizeBytes, images.length);
    if (typeof memory === 'string') return `${image.name}: ${memory}`;
    if (!inStep.includes(slot)) continue;
    for (const [other, otherImage] of images.entries()) {
      if (other === slot) continue;
      const differing = differingChunks(image.chunks, otherImage.chunks, mediaSizeBytes);
      const forgotten = differing.filter((region) => !isCovered(memory, other, region));
      if (forgotten.length > 0) {
        return `${image.name} does not remember that ${otherImage.name} differs in region ${forgotten.join(', ')}${detail(image, otherImage, forgotten[0] ?? 0)}`;
      }
    }
  }
  return null;
}

async function memoryOf(image: Image, mediaSizeBytes: number, count: number): Promise<Memory | string> {
  const device = new ImageDevice(image.name, image.chunks, image.sizeBytes);
  const sector = Buffer.alloc(SECTOR_BYTES);
  readChunks(image.chunks, image.sizeBytes - SECTOR_BYTES, sector);
  try {
    decodeLabel(sector);
  } catch (error) {
    return `its label can't be read: ${(error as Error).message}`;
  }
  const area = await AreaStore.open(device, areaOffsetBytes(mediaSizeBytes));
  if (area.state !== 'ok') return `its private area is ${area.state}`;
  const { store } = area;
  const bitmaps: RegionBitmap[] = [];
  for (let slot = 0; slot < count; slot++) bitmaps.push(await store.readBitmap(slot));
  const { isRunning, slots } = store.superblock;
  return { isRunning, log: store.readLog(), bitmaps, isFull: slots.map(({ isFull }) => isFull) };
}

function isCovered({ isRunning, log, bitmaps, isFull }: Memory, slot: number, region: number): boolean {
  if (isFull[slot] === true || bitmaps[slot]?.isMarked(region) === true) return true;
  if (!isRunning) return false;
  return log === 'damaged' || log.includes(Math.floor((region * REGION_SIZE_BYTES) / EXTENT_SIZE_BYTES));
}

/** The first sector of a region in which two disks differ, and what it says on each. */
function detail(one: Image, other: Image, region: number): string {
  const [a, b] = [one, other].map(({ chunks }) => {
    const bytes = Buffer.alloc(REGION_SIZE_BYTES);
    readChunks(chunks, region * REGION_SIZE_BYTES, bytes);
    return bytes;
  }) as [Buffer, Buffer];
  for (let at = 0; at < REGION_SIZE_BYTES; at += SECTOR_BYTES) {
    if (a.compare(b, at, at + SECTOR_BYTES, at, at + SECTOR_BYTES) === 0) continue;
    const sector = (region * REGION_SIZE_BYTES + at) / SECTOR_BYTES;
    return ` (sector ${sector} says ${readSector(a, at, sector)} there and ${readSector(b, at, sector)} here)`;
  }
  return '';
}
