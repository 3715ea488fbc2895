import { request } from '../../device/request.js';
import { REGION_SIZE_BYTES, type ByteRange } from '../../protocol/geometry.js';
import { InterruptedError } from '../errors.js';
import type { Interrupt } from '../interrupt.js';
import { CompareWorker } from './comparer.js';
import type { CopyEnd } from './end.js';
import { Extents } from './extents.js';
import { Pump } from './pump.js';
import { WorkList } from './work-list.js';

const CHUNK_BYTES = 1_048_576;
/** Requests on each side; a checksum request keeps a disk and a processor busy by itself. */
const DEPTH = 4;
const DETAILS_MAX = 10;

export interface CompareOptions {
  readonly source: CopyEnd;
  readonly target: CopyEnd;
  /** Starts at a region's start. */
  readonly range: ByteRange;
  readonly advanced: (bytes: number) => void;
  readonly interrupt: Interrupt;
  /** End with the first difference. */
  readonly stopsEarly: boolean;
}

export interface Comparison {
  readonly how: 'checksums' | 'data';
  /** Regions of 64 KiB that differ. */
  readonly differentRegions: number;
  /** Of the first ten of them, the first byte that differs. */
  readonly firstOffsetsBytes: readonly number[];
}

/** Reads both ends, or has them reckon checksums, and says where they differ. Throws DeviceError, InterruptedError. */
export async function compareEnds(options: CompareOptions): Promise<Comparison> {
  const { source, target, range, interrupt } = options;
  const useChecksums = [source, target].some((end) => end.isRemote && end.device.can.checksum);
  const found = new FirstRegions();
  const targetExtents = await extentsOf(target, CHUNK_BYTES);
  const extents = await extentsOf(source, CHUNK_BYTES);
  const work = new WorkList({ range, chunkBytes: CHUNK_BYTES, holeBytesMax: CHUNK_BYTES, extents });
  const pump = new Pump(work, options.advanced);
  const job = {
    source: source.device,
    target: target.device,
    chunkBytes: CHUNK_BYTES,
    useChecksums,
    isTargetZero: (offsetBytes: number, lengthBytes: number) =>
      targetExtents.isZero(offsetBytes, lengthBytes),
    differs: (region: ByteRange): void => {
      found.add(region);
      if (options.stopsEarly) pump.stop();
    },
  };
  const release = interrupt.onInterrupt(() => pump.stop());
  try {
    await pump.run(Array.from({ length: DEPTH }, () => new CompareWorker(pump, job)));
  } finally {
    release();
  }
  if (interrupt.signalNumber !== null) {
    throw new InterruptedError('interrupted while comparing', interrupt.signalNumber);
  }
  const offsets = await Promise.all(found.regions.map((region) => firstDifference(source, target, region)));
  return {
    how: useChecksums ? 'checksums' : 'data',
    differentRegions: found.count,
    firstOffsetsBytes: offsets,
  };
}

/** What is known about an end's holes now. */
export async function extentsOf(end: CopyEnd, gapBytesMin: number): Promise<Extents> {
  const { mediaSizeBytes } = end.device;
  if (end.isFresh) return Extents.noData;
  const known = end.askData === null ? null : await Extents.load(end.askData, mediaSizeBytes, gapBytesMin);
  return known ?? Extents.allData(mediaSizeBytes);
}

/** Keeps the lowest few of what comes in any order. */
class FirstRegions {
  count = 0;
  readonly regions: ByteRange[] = [];

  add(region: ByteRange): void {
    this.count += 1;
    this.regions.push(region);
    this.regions.sort((a, b) => a.offsetBytes - b.offsetBytes);
    this.regions.length = Math.min(this.regions.length, DETAILS_MAX);
  }
}

/** The exact byte; the region's start if it has become equal meanwhile or only one side's checksum is wrong. */
async function firstDifference(source: CopyEnd, target: CopyEnd, region: ByteRange): Promise<number> {
  const left = Buffer.alloc(REGION_SIZE_BYTES);
  const right = Buffer.alloc(REGION_SIZE_BYTES);
  await Promise.all([
    request(source.device, 'read', region, left),
    request(target.device, 'read', region, right),
  ]);
  const index = left.findIndex((byte, at) => byte !== right[at]);
  return region.offsetBytes + Math.max(0, index);
}
