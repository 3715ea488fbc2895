import { DeviceError, type BlockDevice, type BlockIo } from '../src/device/block-device.js';
import { AreaStore } from '../src/mirror/area/area-store.js';
import { isLabelTouched } from '../src/mirror/area/component-store.js';
import type { RegionBitmap } from '../src/mirror/area/region-bitmap.js';
import { EXTENT_SIZE_BYTES, areaOffsetBytes } from '../src/protocol/area-layout.js';
import { compareFreshness } from '../src/protocol/gmirror-checks.js';
import { decodeLabel, type GmirrorLabel } from '../src/protocol/gmirror-label.js';
import { REGION_SIZE_BYTES } from '../src/protocol/geometry.js';
import type { Superblock } from '../src/protocol/superblock.js';
import { readSector } from './content.js';
import { SECTOR_BYTES, differingChunks, readChunks, type Chunks } from './disk.js';

/** What a disk would be found to hold, read only. It answers at once, so that nothing changes meanwhile. */
export class ImageDevice implements BlockDevice {
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

/** What an operator knows. Images are given by index. */
export interface Standing {
  /** Those that are components. */
  readonly members: readonly number[];
  /** Those of them that have everything. */
  readonly inStep: readonly number[];
  /** Those of them that are copied to, as they say themselves. */
  readonly mixed: readonly number[];
  /** Those of them whose resync is about to end: they may say already that they are in step, or not yet. */
  readonly ending: readonly number[];
  /** Those that can't flush: nobody asks them what others miss while another one is there. */
  readonly plain: readonly number[];
  /** Every loss so far is on stable storage. */
  readonly isSettled: boolean;
}

interface Memory {
  readonly superblock: Superblock;
  readonly label: GmirrorLabel;
  readonly log: readonly number[] | 'damaged';
  /** By slot. */
  readonly bitmaps: readonly RegionBitmap[];
}

interface Member extends Image {
  readonly index: number;
  readonly memory: Memory;
}

/**
 * What is wrong with images of all disks: label and superblock of components can be read and say no less than the truth,
 * and wherever one that was in step differs from another, what it remembers says so. Null if nothing is. Takes no
 * simulated time.
 */
export async function coverageProblem(
  images: readonly Image[],
  standing: Standing,
  mediaSizeBytes: number,
): Promise<string | null> {
  const members: Member[] = [];
  for (const index of standing.members) {
    const image = images[index];
    if (image === undefined) continue;
    const memory = await memoryOf(image, mediaSizeBytes);
    if (typeof memory === 'string') return `${image.name}: ${memory}`;
    if (standing.mixed.includes(index) && !memory.superblock.isInconsistent)
      return `${image.name} is copied to, and does not say so`;
    members.push({ ...image, index, memory });
  }
  for (const one of members) {
    if (!standing.inStep.includes(one.index) || standing.plain.includes(one.index)) continue;
    for (const other of members) {
      if (other === one) continue;
      const problem = problemBetween(one, other, standing, mediaSizeBytes);
      if (problem !== null) return problem;
    }
  }
  return null;
}

/** What `one`, which is in step, says of `other`. */
function problemBetween(
  one: Member,
  other: Member,
  { inStep, ending, isSettled }: Standing,
  mediaSizeBytes: number,
): string | null {
  const slot = one.memory.superblock.slots.findIndex(
    ({ componentUuid }) => componentUuid === other.memory.superblock.componentUuid,
  );
  // Not as far as it knows, so it would not be taken for one.
  if (slot < 0) return null;
  const differing = differingChunks(one.chunks, other.chunks, mediaSizeBytes);
  const forgotten = differing.find(
    (region) => !isMarked(one.memory, slot, region) && !isHot(one.memory, region),
  );
  if (forgotten !== undefined)
    return `${one.name} does not remember that ${other.name} differs in region ${forgotten}${detail(one, other, forgotten)}`;
  if (differing.length === 0 || inStep.includes(other.index) || ending.includes(other.index)) return null;
  return isSettled ? labelProblem(one, other) : null;
}

/** A kernel that is given both must not take `other` for one that is in step. */
function labelProblem(one: Member, other: Member): string | null {
  const [newer, older] = [one.memory.label, other.memory.label];
  if (older.diskFlags.synchronizing || older.diskFlags.inactive || compareFreshness(older, newer) < 0)
    return null;
  return `the label of ${other.name} looks as new as that of ${one.name}, whose writes it misses`;
}

async function memoryOf(image: Image, mediaSizeBytes: number): Promise<Memory | string> {
  const device = new ImageDevice(image.name, image.chunks, image.sizeBytes);
  const sector = Buffer.alloc(SECTOR_BYTES);
  readChunks(image.chunks, image.sizeBytes - SECTOR_BYTES, sector);
  let label: GmirrorLabel;
  try {
    label = decodeLabel(sector);
  } catch (error) {
    return `its label can't be read: ${(error as Error).message}`;
  }
  const area = await AreaStore.open(device, areaOffsetBytes(mediaSizeBytes));
  if (area.state !== 'ok') return `its private area is ${area.state}`;
  const { store } = area;
  const { superblock } = store;
  if (isLabelTouched(label, superblock)) return 'its label says more than its superblock';
  const bitmaps: RegionBitmap[] = [];
  for (const slot of superblock.slots.keys()) bitmaps.push(await store.readBitmap(slot));
  return { superblock, label, log: store.readLog(), bitmaps };
}

const isMarked = (memory: Memory, slot: number, region: number): boolean =>
  memory.superblock.slots[slot]?.isFull === true ||
  memory.bitmaps[slot]?.isMarked(region) === true ||
  isDoubtful(memory, region);

/** It could not flush that itself, so others may have what it has lost. */
const isDoubtful = ({ superblock: { slot, slots }, bitmaps }: Memory, region: number): boolean =>
  slots[slot]?.isMarked === true && bitmaps[slot]?.isMarked(region) === true;

function isHot({ superblock, log }: Memory, region: number): boolean {
  if (!superblock.isRunning) return false;
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
