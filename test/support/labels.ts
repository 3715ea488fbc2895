import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import type { LabelledProvider } from '../../src/protocol/gmirror-checks.js';
import { NO_DISK_FLAGS, NO_MIRROR_FLAGS } from '../../src/protocol/gmirror-flags.js';
import { decodeLabel, type DecodedLabel, type GmirrorLabel } from '../../src/protocol/gmirror-label.js';

const FOLDER = join(import.meta.dirname, '../fixtures/labels');

/** Names of the kernel's labels, without `.bin`: '05-dirty-open.a'. */
export const kernelLabels: readonly string[] = readdirSync(FOLDER)
  .filter((name) => name.endsWith('.bin'))
  .map((name) => name.slice(0, -4))
  .sort();

export const kernelSector = (name: string): Buffer => readFileSync(join(FOLDER, `${name}.bin`));

/** The labels of one point of the run, by its number: a, b and c, as far as they had one. */
export const kernelSet = (point: string): DecodedLabel[] =>
  kernelLabels.filter((name) => name.startsWith(`${point}-`)).map((name) => decodeLabel(kernelSector(name)));

/** Everything that gmirror and the kernel printed in that run. */
export const kernelTranscript = (): string => readFileSync(join(FOLDER, 'commands.txt'), 'utf8');

/** The providers of that run. `letter` is the end of a label's name. */
export const kernelProvider = (letter: string): LabelledProvider => ({
  kernelName: `ggate${'abc'.indexOf(letter)}`,
  mediaSizeBytes: 4_194_304,
  sectorSizeBytes: 512,
});

/** The mirror of the metadata spec's test vector; every field can be set. */
export const aLabel = (fields: Partial<GmirrorLabel> = {}): GmirrorLabel => ({
  name: 'data',
  mid: 1,
  did: 2,
  all: 2,
  genid: 0,
  syncid: 1,
  priority: 0,
  sliceBytes: 4096,
  balance: 2,
  mediaSizeBytes: 1_048_064,
  sectorSizeBytes: 512,
  syncOffsetBytes: 0,
  mirrorFlags: NO_MIRROR_FLAGS,
  diskFlags: NO_DISK_FLAGS,
  hardcodedProvider: '',
  providerSizeBytes: 1_048_576,
  ...fields,
});

const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
const u8 = fc.integer({ min: 0, max: 255 });
const size = fc.maxSafeNat();
const cString = fc
  .uint8Array({ minLength: 0, maxLength: 15, min: 1 })
  .map((bytes) => Buffer.from(bytes).toString('latin1'));
const claim = fc.boolean();

/** Any label that can be written. */
export const anyLabel: fc.Arbitrary<GmirrorLabel> = fc.record({
  name: cString,
  mid: u32,
  did: u32,
  all: u8,
  genid: u32,
  syncid: u32,
  priority: u8,
  sliceBytes: u32,
  balance: u8,
  mediaSizeBytes: size,
  sectorSizeBytes: u32,
  syncOffsetBytes: size,
  mirrorFlags: fc.record({ noFailSync: claim, noAutoSync: claim, otherBits: fc.constant([]) }),
  diskFlags: fc.record({
    dirty: claim,
    synchronizing: claim,
    forceSync: claim,
    inactive: claim,
    canDelete: claim,
    otherBits: fc.constant([]),
  }),
  hardcodedProvider: cString,
  providerSizeBytes: size,
});

export interface OldLabel {
  readonly version: 0 | 1 | 2 | 3;
  readonly mflags?: bigint;
  readonly dflags?: bigint;
}

/**
 * A sector as kernels before version 4 wrote it, from the three columns of the metadata spec's table. Written without
 * the codec that it is there to check.
 */
export function encodeOldLabel(label: GmirrorLabel, { version, mflags = 0n, dflags = 0n }: OldLabel): Buffer {
  const sector = Buffer.alloc(512);
  sector.write('GEOM::MIRROR', 0, 'latin1');
  sector.writeUInt32LE(version, 16);
  sector.write(label.name, 20, 'latin1');
  sector.writeUInt32LE(label.mid, 36);
  sector.writeUInt32LE(label.did, 40);
  sector.writeUInt8(label.all, 44);
  if (version >= 2) sector.writeUInt32LE(label.genid, 45);
  // From here on, versions 0 and 1 have everything four bytes earlier.
  const shift = version >= 2 ? 0 : -4;
  sector.writeUInt32LE(label.syncid, 49 + shift);
  sector.writeUInt8(label.priority, 53 + shift);
  sector.writeUInt32LE(label.sliceBytes, 54 + shift);
  sector.writeUInt8(label.balance, 58 + shift);
  sector.writeBigUInt64LE(BigInt(label.mediaSizeBytes), 59 + shift);
  sector.writeUInt32LE(label.sectorSizeBytes, 67 + shift);
  sector.writeBigUInt64LE(BigInt(label.syncOffsetBytes), 71 + shift);
  sector.writeBigUInt64LE(mflags, 79 + shift);
  sector.writeBigUInt64LE(dflags, 87 + shift);
  sector.write(label.hardcodedProvider, 95 + shift, 'latin1');
  if (version >= 3) sector.writeBigUInt64LE(BigInt(label.providerSizeBytes), 111);
  return withMd5(sector, version);
}

const MD5_AT = [107, 107, 111, 119, 119] as const;

/** Where the MD5 is in a label of the version. */
export const md5At = (version: number): number => MD5_AT[version] ?? 119;

/** Makes the MD5 of a changed label right again, in place. */
export function withMd5(sector: Buffer, version: number): Buffer {
  const at = md5At(version);
  createHash('md5').update(sector.subarray(0, at)).digest().copy(sector, at);
  return sector;
}
