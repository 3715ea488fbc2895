import type { BlockDevice } from '../../device/block-device.js';
import type { RandomSource } from '../../device/random.js';
import { flushWhereAble, request } from '../../device/request.js';
import { AREA_BLOCK_BYTES } from '../../protocol/area-block.js';
import {
  areaOffsetBytes,
  areaSizeBytes,
  EXTENT_SIZE_BYTES,
  mediaSizeFor,
} from '../../protocol/area-layout.js';
import { ProtocolError } from '../../protocol/errors.js';
import type { ByteRange } from '../../protocol/geometry.js';
import { decodeLabel, type DecodedLabel } from '../../protocol/gmirror-label.js';
import { AreaStore } from '../area/area-store.js';
import { Assembly, type PresentProvider } from './assembly.js';
import { readLabelSector, writeLabelSector } from '../area/component-store.js';
import { decideAssembly } from '../decide/assembly-decision.js';
import { finishResize } from './finish-resize.js';
import { newAreaId } from '../ids.js';
import { moveLabel } from './move-label.js';
import type { OpenedProvider, ProviderOpener, SecondArea } from '../area/provider.js';
import { RegionBitmap } from '../area/region-bitmap.js';
import { markedRuns, rangeOfRun } from '../area/region-runs.js';
import { ResizeError } from './resize-error.js';
import { openAreaOf } from './second-area.js';

export interface ResizeOptions {
  /** Of the mirror, which does not run. */
  readonly name: string;
  /** All of its components. */
  readonly providers: readonly ProviderOpener[];
  /** Null for the largest that all of them have room for. Sectors are the mirror's. */
  readonly size: { readonly count: number; readonly unit: 'bytes' | 'sectors' } | null;
  readonly random: RandomSource;
  readonly progress?: ResizeProgress;
  /** Somebody waits: not more than so many zeroes are sent to a component that can't be told to hold them. */
  readonly sentBytesMax?: number;
}

/** What takes long is the zeroing of what is added, on disks that can't be told to hold zeros. */
export interface ResizeProgress {
  begun(totalBytes: number): void;
  zeroed(bytes: number): void;
}

/** Media sizes of the mirror. */
export interface Resized {
  readonly beforeBytes: number;
  readonly nowBytes: number;
}

/** Zeroed at once. */
const PIECE_BYTES = 16 * 1_048_576;
const SENT_PIECE_BYTES = 1_048_576;

/**
 * Makes a mirror that does not run larger when its providers have grown. Labels come to the providers' new ends first;
 * then every component gets a second private area where that of the new size is, or in a second area file, and only then
 * labels name the new size. The first area stays until all do: a crash leaves the old size, or the new one, which the
 * next start finishes. What is added is zeros everywhere. Rejects with ResizeError, AssembleError or DeviceError; the mirror has its old size then,
 * or a start finishes the new one.
 */
export async function resizeMirror(options: ResizeOptions): Promise<Resized> {
  const { name, providers } = options;
  let mirrorBytes: number | null = null;
  // What is local is searched in no time.
  for (const opener of [...providers].sort((one, other) => Number(other.isLocal) - Number(one.isLocal)))
    mirrorBytes = (await moveLabel(opener, name, mirrorBytes)) ?? mirrorBytes;
  await finishResize(providers);
  await requireInStep(options);
  const opened: { opener: ProviderOpener; provider: OpenedProvider }[] = [];
  try {
    for (const opener of providers) opened.push({ opener, provider: await opener.open() });
    const growths = await Promise.all(
      opened.map(({ opener, provider }) => openGrowth(opener.name, provider)),
    );
    return await grow(growths, options);
  } finally {
    await Promise.allSettled(
      opened.map(({ provider: { device, area } }) => Promise.all([device.close(), area?.close()])),
    );
  }
}

/** One component on its way from a size to another one. */
interface Growth {
  readonly name: string;
  readonly device: BlockDevice;
  readonly label: DecodedLabel;
  readonly area: AreaStore;
  /** Null if the area is on the device. */
  readonly secondArea: SecondArea | null;
}

async function openGrowth(name: string, { device, area: file, ...opened }: OpenedProvider): Promise<Growth> {
  const label = decodeLabel(await readLabelSector(device));
  const area = await openAreaOf(device, file, label.mediaSizeBytes);
  if (area.state !== 'ok' || area.store.superblock.mediaSizeBytes !== label.mediaSizeBytes)
    throw new ResizeError(`${name} has lost its private area`);
  const secondArea = file === null ? null : (opened.secondArea ?? null);
  return { name, device, label, area: area.store, secondArea };
}

async function grow(growths: readonly Growth[], options: ResizeOptions): Promise<Resized> {
  const beforeBytes = growths[0]?.label.mediaSizeBytes ?? 0;
  const nowBytes = newSize(growths, beforeBytes, options);
  const oldArea = oldAreaOf(growths, beforeBytes);
  requireShort(growths, nowBytes - beforeBytes, options);
  // What follows changes the times of images, and if it is interrupted nobody is to take that for somebody's writing.
  for (const { area } of growths)
    if (area.superblock.modifiedNs !== 0n) await area.writeSuperblock({ modifiedNs: 0n });
  const fromBytes = oldArea.offsetBytes + oldArea.lengthBytes;
  const added = { offsetBytes: fromBytes, lengthBytes: nowBytes - fromBytes };
  options.progress?.begun(growths.length * added.lengthBytes);
  const made = await Promise.all(
    growths.map(async (growth) => {
      await zero(growth.device, added, options.progress);
      // What makes the area flushes its device, which may be another one.
      await flushWhereAble(growth.device);
      return await makeArea(growth, nowBytes, oldArea, options.random);
    }),
  );
  try {
    await nameSize(growths, nowBytes, oldArea);
    for (const { area } of made) {
      await area.writeLog([]);
      await area.writeSuperblock({ isRunning: false });
    }
  } finally {
    await Promise.allSettled(made.map(async ({ file }) => await file?.close()));
  }
  return { beforeBytes, nowBytes };
}

/** From the first of these labels on a start goes on with the new size, and finds what it needs on every component. */
async function nameSize(
  growths: readonly Growth[],
  mediaSizeBytes: number,
  oldArea: ByteRange,
): Promise<void> {
  for (const { device, label } of growths) {
    await writeLabelSector(device, { ...label, mediaSizeBytes });
    await flushWhereAble(device);
  }
  await Promise.all(growths.map(({ device }) => zero(device, oldArea)));
  for (const { device } of growths) await flushWhereAble(device);
  for (const { secondArea } of growths) await secondArea?.keep();
}

/** What the first areas on components take of what is added; nothing if all of them are in files. */
function oldAreaOf(growths: readonly Growth[], mediaSizeBytes: number): ByteRange {
  const isOnDevice = growths.some(({ secondArea }) => secondArea === null);
  const endBytes = isOnDevice
    ? areaOffsetBytes(mediaSizeBytes) + areaSizeBytes(mediaSizeBytes)
    : mediaSizeBytes;
  return { offsetBytes: mediaSizeBytes, lengthBytes: endBytes - mediaSizeBytes };
}

interface MadeArea {
  readonly area: AreaStore;
  /** That it is in; open. */
  readonly file: BlockDevice | null;
}

/**
 * In what is added the first areas lie, which differ. So until they are zeroed the new area says what it would after a
 * crash of a run that wrote just there.
 */
async function makeArea(
  { device, area, secondArea }: Growth,
  mediaSizeBytes: number,
  oldArea: ByteRange,
  random: RandomSource,
): Promise<MadeArea> {
  const { superblock } = area;
  const file = (await secondArea?.make(areaSizeBytes(mediaSizeBytes))) ?? null;
  const made = await AreaStore.create(file ?? device, file === null ? areaOffsetBytes(mediaSizeBytes) : 0, {
    ...superblock,
    areaId: newAreaId(random),
    mediaSizeBytes,
    isRunning: true,
    modifiedNs: 0n,
  });
  await made.writeLog(extentsOf(oldArea));
  for (const [slot, { isMarked }] of superblock.slots.entries()) {
    if (!isMarked) continue;
    const marks = new RegionBitmap(mediaSizeBytes);
    const before = await area.readBitmap(slot);
    for (const run of markedRuns(before)) marks.mark(rangeOfRun(run, superblock.mediaSizeBytes));
    await made.writeBitmap(slot, marks, marks.markedPages());
  }
  return { area: made, file };
}

function extentsOf({ offsetBytes, lengthBytes }: ByteRange): number[] {
  if (lengthBytes === 0) return [];
  const first = Math.floor(offsetBytes / EXTENT_SIZE_BYTES);
  const last = Math.floor((offsetBytes + lengthBytes - 1) / EXTENT_SIZE_BYTES);
  return Array.from({ length: last - first + 1 }, (_, index) => first + index);
}

function newSize(growths: readonly Growth[], beforeBytes: number, { name, size }: ResizeOptions): number {
  const rooms = growths.map((growth) => ({ name: growth.name, bytes: roomOf(growth) }));
  const [least] = [...rooms].sort((one, other) => one.bytes - other.bytes);
  if (least === undefined) throw new ResizeError(`mirror/${name} has no components`);
  const unitBytes = size?.unit === 'sectors' ? (growths[0]?.area.superblock.sectorSizeBytes ?? 1) : 1;
  const sizeBytes = size === null ? least.bytes : size.count * unitBytes;
  const wanted = sizeBytes - (sizeBytes % AREA_BLOCK_BYTES);
  if (wanted > least.bytes) {
    throw new ResizeError(`Provider ${least.name} is too small. (it has room for ${least.bytes} bytes)`);
  }
  if (wanted <= beforeBytes) {
    const why =
      size === null ? `${least.name} has room for no more` : 'a mirror is made larger, never smaller';
    throw new ResizeError(`Cannot expand provider mirror/${name}: it has ${beforeBytes} bytes, and ${why}`);
  }
  const { lengthBytes: needed } = oldAreaOf(growths, beforeBytes);
  if (wanted >= beforeBytes + needed) return wanted;
  throw new ResizeError(
    `Cannot expand provider mirror/${name}: by ${wanted - beforeBytes} bytes, which is less than the ${needed} ` +
      'that its private areas take; make the components larger',
  );
}

function requireShort(
  growths: readonly Growth[],
  addedBytes: number,
  { name, sentBytesMax = Infinity }: ResizeOptions,
): void {
  const slow = growths.find(({ device }) => !device.can.writeZeroes);
  if (slow === undefined || addedBytes <= sentBytesMax) return;
  throw new ResizeError(
    `${slow.name} has to be sent ${addedBytes} bytes of zeros, for which nobody should have to wait; ` +
      `stop the mirror first (ggmirror stop ${name})`,
  );
}

function roomOf({ name, device, secondArea }: Growth): number {
  try {
    return mediaSizeFor(device.mediaSizeBytes, device.sectorSizeBytes, secondArea !== null);
  } catch (cause) {
    if (!(cause instanceof ProtocolError)) throw cause;
    throw new ResizeError(`${name}: ${cause.message}`, { cause });
  }
}

/** All are there, stopped cleanly and equal: nothing is copied when the mirror starts. */
async function requireInStep({ name, providers }: ResizeOptions): Promise<void> {
  const assembly = await Assembly.open(providers);
  try {
    const present: PresentProvider[] = [];
    for (const found of assembly.providers) {
      if (found.state !== 'ok')
        throw new ResizeError(found.state === 'failed' ? found.why : `${found.name} ${found.why}`);
      if (found.facts.superblock.name !== name)
        throw new ResizeError(`${found.name} is no component of mirror '${name}'`);
      present.push(found);
    }
    const decision = decideAssembly({ present: present.map(({ facts }) => facts), isDegradedAllowed: false });
    if (decision.outcome === 'refuse') throw new ResizeError(decision.message);
    const { behind, missing, inactive, beginsGeneration } = decision;
    const isUnequal = behind.length + missing.length + inactive.length > 0 || beginsGeneration;
    const isRunning = present.some(({ facts }) => facts.superblock.isRunning);
    if (!isUnequal && !isRunning) return;
    throw new ResizeError(
      `mirror/${name} was not stopped with all its components ACTIVE; start it, wait until it is COMPLETE, and stop it first`,
    );
  } finally {
    await assembly.close();
  }
}

async function zero(
  device: BlockDevice,
  { offsetBytes, lengthBytes }: ByteRange,
  progress?: ResizeProgress,
): Promise<void> {
  const pieceBytes = device.can.writeZeroes ? PIECE_BYTES : SENT_PIECE_BYTES;
  const zeroes = device.can.writeZeroes ? null : Buffer.alloc(pieceBytes);
  const endBytes = offsetBytes + lengthBytes;
  for (let at = offsetBytes; at < endBytes; at += pieceBytes) {
    const piece = { offsetBytes: at, lengthBytes: Math.min(pieceBytes, endBytes - at) };
    await request(device, zeroes === null ? 'write-zeroes' : 'write', piece, zeroes);
    progress?.zeroed(piece.lengthBytes);
  }
}
