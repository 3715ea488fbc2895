import { createHash } from 'node:crypto';
import { ProtocolError, assert } from './errors.js';
import {
  DISK_FLAG_BITS,
  MIRROR_FLAG_BITS,
  readFlags,
  writeFlags,
  type DiskFlags,
  type MirrorFlags,
} from './gmirror-flags.js';
import { readU64LE, writeU64LE } from './integers.js';

/**
 * The label that FreeBSD's gmirror keeps in the last sector of each component, packed, little-endian, with an MD5 over
 * everything before it. Source: gmirror metadata spec, section 1; FreeBSD 12.1 g_mirror.h. Each field with its size and
 * the version since which it exists; a version without a field has the next ones that much earlier, and reads it as 0.
 */
const FIELDS = [
  { name: 'magic', sizeBytes: 16, since: 0 },
  { name: 'version', sizeBytes: 4, since: 0 },
  { name: 'name', sizeBytes: 16, since: 0 },
  { name: 'mid', sizeBytes: 4, since: 0 },
  { name: 'did', sizeBytes: 4, since: 0 },
  { name: 'all', sizeBytes: 1, since: 0 },
  { name: 'genid', sizeBytes: 4, since: 2 },
  { name: 'syncid', sizeBytes: 4, since: 0 },
  { name: 'priority', sizeBytes: 1, since: 0 },
  { name: 'slice', sizeBytes: 4, since: 0 },
  { name: 'balance', sizeBytes: 1, since: 0 },
  { name: 'mediasize', sizeBytes: 8, since: 0 },
  { name: 'sectorsize', sizeBytes: 4, since: 0 },
  { name: 'syncoffset', sizeBytes: 8, since: 0 },
  { name: 'mflags', sizeBytes: 8, since: 0 },
  { name: 'dflags', sizeBytes: 8, since: 0 },
  { name: 'provider', sizeBytes: 16, since: 0 },
  { name: 'provsize', sizeBytes: 8, since: 3 },
  { name: 'md5', sizeBytes: 16, since: 0 },
] as const;

type FieldName = (typeof FIELDS)[number]['name'];
/** Where each field of one version is; null for one that the version doesn't have. */
type Layout = Readonly<Record<FieldName, number | null>>;

export const LABEL_MAGIC = 'GEOM::MIRROR';
/** The version that we write; since 4 NOFAILSYNC is known. */
export const LABEL_VERSION = 4;
/** Names are C strings in 16 bytes. */
export const LABEL_NAME_BYTES_MAX = 15;
/** Every sector has room for a label of any version. */
const SECTOR_BYTES_MIN = 512;

const LAYOUTS: readonly Layout[] = Array.from({ length: LABEL_VERSION + 1 }, (_, version) =>
  layoutOf(version),
);

/**
 * What a label says. All numbers are integers from 0; ids, slice and sector size below 2^32, `all`, `priority` and
 * `balance` below 256, sizes and offsets at most 2^53 - 1. Strings hold one character for each byte (latin1), so that
 * any name survives; `displayText` is for people.
 */
export interface GmirrorLabel {
  /** Of the mirror, at most 15 bytes. */
  readonly name: string;
  /** The mirror's id, random. */
  readonly mid: number;
  /** The component's id, random, unique in the mirror. */
  readonly did: number;
  /** How many components the mirror should have. */
  readonly all: number;
  /** Grows when a component failed and must not come back by itself. */
  readonly genid: number;
  /** Grows when the others were written without a component. */
  readonly syncid: number;
  readonly priority: number;
  /** The longest read that balance `split` leaves in one piece. */
  readonly sliceBytes: number;
  /** See balanceName. */
  readonly balance: number;
  /** Of the mirror, not of the component. */
  readonly mediaSizeBytes: number;
  /** Of the mirror. Not checked by the kernel: it may be anything, 0 too. */
  readonly sectorSizeBytes: number;
  /** Where an interrupted synchronization goes on. */
  readonly syncOffsetBytes: number;
  readonly mirrorFlags: MirrorFlags;
  readonly diskFlags: DiskFlags;
  /** The only provider name under which the kernel takes the component, without `/dev/`; empty for any. */
  readonly hardcodedProvider: string;
  /** Size of the component's provider; 0 for unknown. */
  readonly providerSizeBytes: number;
}

/** A label as it was found. */
export interface DecodedLabel extends GmirrorLabel {
  /** 0 to 4. */
  readonly version: number;
  /** 32 hex digits. */
  readonly md5: string;
}

/** Where the label of a provider is: in its last sector, of its own sector size. */
export const labelOffsetBytes = (provider: {
  readonly mediaSizeBytes: number;
  readonly sectorSizeBytes: number;
}): number => provider.mediaSizeBytes - provider.sectorSizeBytes;

/** Whether a sector starts with gmirror's magic, whatever follows. */
export const hasLabelMagic = (sector: Buffer): boolean =>
  sector.length >= SECTOR_BYTES_MIN && readString(sector, 0) === LABEL_MAGIC;

/**
 * Reads the last sector of a provider; bytes behind the label are not looked at, they may be anything. Throws
 * PROTOCOL_MAGIC (no label), PROTOCOL_VERSION (newer than 4), PROTOCOL_FORMAT (the MD5 differs) and PROTOCOL_RANGE (a
 * size of 2^53 or more), in this order.
 */
export function decodeLabel(sector: Buffer): DecodedLabel {
  if (!hasLabelMagic(sector)) throw new ProtocolError('PROTOCOL_MAGIC', 'there is no gmirror label');
  const version = sector.readUInt32LE(16);
  const layout = LAYOUTS[version];
  if (layout === undefined) {
    const message = `a gmirror label of version ${version}, newer than ${LABEL_VERSION}; use a newer ggmirror`;
    throw new ProtocolError('PROTOCOL_VERSION', message);
  }
  const at = (field: FieldName): number => offsetOf(layout, field);
  const md5 = sector.toString('hex', at('md5'), at('md5') + 16);
  if (md5 !== md5Of(sector, at('md5'))) {
    throw new ProtocolError('PROTOCOL_FORMAT', 'the MD5 of the gmirror label does not match; it is damaged');
  }
  return {
    version,
    name: readString(sector, at('name')),
    mid: sector.readUInt32LE(at('mid')),
    did: sector.readUInt32LE(at('did')),
    all: sector.readUInt8(at('all')),
    genid: layout.genid === null ? 0 : sector.readUInt32LE(layout.genid),
    syncid: sector.readUInt32LE(at('syncid')),
    priority: sector.readUInt8(at('priority')),
    sliceBytes: sector.readUInt32LE(at('slice')),
    balance: sector.readUInt8(at('balance')),
    mediaSizeBytes: readU64LE(sector, at('mediasize'), "the mirror's size in the label"),
    sectorSizeBytes: sector.readUInt32LE(at('sectorsize')),
    syncOffsetBytes: readU64LE(sector, at('syncoffset'), "the label's synchronization offset"),
    mirrorFlags: readFlags(sector, at('mflags'), MIRROR_FLAG_BITS),
    diskFlags: readFlags(sector, at('dflags'), DISK_FLAG_BITS),
    hardcodedProvider: readString(sector, at('provider')),
    providerSizeBytes:
      layout.provsize === null ? 0 : readU64LE(sector, layout.provsize, "the provider's size in the label"),
    md5,
  };
}

/**
 * The whole last sector of a component, in memory of its own: a label of version 4 and zeros, behind the strings too.
 * `sectorSizeBytes` is the component's, 512 or more. Asserts that every field fits: the caller has checked what came
 * from outside, and unknown flags are never written, because the kernel refuses them.
 */
export function encodeLabel(label: GmirrorLabel, sectorSizeBytes = SECTOR_BYTES_MIN): Buffer {
  assert(sectorSizeBytes >= SECTOR_BYTES_MIN, 'label: a sector of 512 bytes or more');
  const { mirrorFlags, diskFlags } = label;
  assert(mirrorFlags.otherBits.length + diskFlags.otherBits.length === 0, 'label: only flags with names');
  const layout = LAYOUTS[LABEL_VERSION];
  assert(layout !== undefined, 'label: the layout of our version');
  const at = (field: FieldName): number => offsetOf(layout, field);
  const sector = Buffer.alloc(sectorSizeBytes);
  writeString(sector, 0, LABEL_MAGIC);
  sector.writeUInt32LE(LABEL_VERSION, at('version'));
  writeString(sector, at('name'), label.name);
  sector.writeUInt32LE(label.mid, at('mid'));
  sector.writeUInt32LE(label.did, at('did'));
  sector.writeUInt8(label.all, at('all'));
  sector.writeUInt32LE(label.genid, at('genid'));
  sector.writeUInt32LE(label.syncid, at('syncid'));
  sector.writeUInt8(label.priority, at('priority'));
  sector.writeUInt32LE(label.sliceBytes, at('slice'));
  sector.writeUInt8(label.balance, at('balance'));
  writeU64LE(sector, at('mediasize'), label.mediaSizeBytes);
  sector.writeUInt32LE(label.sectorSizeBytes, at('sectorsize'));
  writeU64LE(sector, at('syncoffset'), label.syncOffsetBytes);
  writeFlags(sector, at('mflags'), MIRROR_FLAG_BITS, mirrorFlags);
  writeFlags(sector, at('dflags'), DISK_FLAG_BITS, diskFlags);
  writeString(sector, at('provider'), label.hardcodedProvider);
  writeU64LE(sector, at('provsize'), label.providerSizeBytes);
  sector.write(md5Of(sector, at('md5')), at('md5'), 'hex');
  return sector;
}

/** A string of a label as people may see it: UTF-8 where it is, and nothing that a terminal would obey. */
export function displayText(text: string): string {
  const utf8 = Buffer.from(text, 'latin1').toString('utf8');
  const readable = utf8.includes('\ufffd') ? text : utf8;
  return readable.replace(/[\p{Cc}\p{Cf}]/gu, (character) => {
    const code = (character.codePointAt(0) ?? 0).toString(16);
    return code.length > 2 ? `\\u${code.padStart(4, '0')}` : `\\x${code.padStart(2, '0')}`;
  });
}

function layoutOf(version: number): Layout {
  let endAt = 0;
  const places = FIELDS.map(({ name, sizeBytes, since }) => {
    if (version < since) return [name, null] as const;
    endAt += sizeBytes;
    return [name, endAt - sizeBytes] as const;
  });
  return Object.fromEntries(places) as Record<FieldName, number | null>;
}

function offsetOf(layout: Layout, field: FieldName): number {
  const at = layout[field];
  assert(at !== null, `label: this version has no ${field}`);
  return at;
}

/** Up to the NUL; the kernel leaves old memory behind it. A field without a NUL is read as 15 characters. */
function readString(sector: Buffer, at: number): string {
  const field = sector.subarray(at, at + LABEL_NAME_BYTES_MAX);
  const endAt = field.indexOf(0);
  return field.toString('latin1', 0, endAt === -1 ? field.length : endAt);
}

function writeString(sector: Buffer, at: number, text: string): void {
  assert(/^[\x01-\xff]{0,15}$/.test(text), `label: '${text}' is no C string of at most 15 bytes`);
  sector.write(text, at, 'latin1');
}

const md5Of = (sector: Buffer, endAt: number): string =>
  createHash('md5').update(sector.subarray(0, endAt)).digest('hex');
