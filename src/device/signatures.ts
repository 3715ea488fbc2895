/** The first bytes of a medium and its last, as far as they were read. */
export interface MediumEnds {
  /** From byte 0 on; at most the whole medium. */
  readonly head: Buffer;
  /** Up to the last byte. */
  readonly tail: Buffer;
  readonly sectorSizeBytes: number;
}

interface Signature {
  readonly what: string;
  readonly isIn: (ends: MediumEnds) => boolean;
}

/** Linux RAID: version 1.1 of its superblock is at the start, 1.2 at 4 KiB. Source: linux/raid/md_p.h. */
const MD_MAGIC = 0xa92b4efc;
/** fs_magic is 1,372 bytes into a superblock. Source: FreeBSD sys/ufs/ffs/fs.h. */
const UFS = { magicAt: 1372, ufs1: 0x0001_1954, ufs2: 0x1954_0119 } as const;
/** Source: OpenZFS sys/uberblock_impl.h. */
const ZFS_UBERBLOCK_MAGIC = 0x00ba_b10c;
/** Swap space ends its first page with its magic, and pages are 4, 16 or 64 KiB. Source: linux/swap.h. */
const SWAP = { magic: 'SWAPSPACE2', pageSizesBytes: [4096, 16_384, 65_536] } as const;

const SIGNATURES: readonly Signature[] = [
  { what: 'a LUKS encrypted volume', isIn: magicAt(0, 'LUKS\xba\xbe') },
  { what: 'an LVM physical volume', isIn: isLvm },
  { what: 'a Linux RAID component', isIn: hasU32(MD_MAGIC, 0, 4096) },
  { what: 'an XFS file system', isIn: magicAt(0, 'XFSB') },
  { what: 'a Btrfs file system', isIn: magicAt(65_600, '_BHRfS_M') },
  { what: 'an NTFS file system', isIn: magicAt(3, 'NTFS    ') },
  { what: 'an exFAT file system', isIn: magicAt(3, 'EXFAT   ') },
  { what: 'a FAT file system', isIn: isFat },
  { what: 'an ISO 9660 file system', isIn: magicAt(32_769, 'CD001') },
  { what: 'a UFS2 file system', isIn: hasU32(UFS.ufs2, 65_536 + UFS.magicAt, 262_144 + UFS.magicAt) },
  { what: 'a UFS1 file system', isIn: hasU32(UFS.ufs1, 8192 + UFS.magicAt) },
  { what: 'a ZFS pool member', isIn: isZfs },
  { what: 'Linux swap space', isIn: isSwap },
  { what: 'a GPT partition table', isIn: isGpt },
  { what: 'an MBR partition table', isIn: isMbr },
];

/** What is on a medium, such as 'an ext4 file system' or 'a gmirror label'; null for nothing that is known here. */
export function recognise(ends: MediumEnds): string | null {
  const found = extOf(ends.head) ?? SIGNATURES.find(({ isIn }) => isIn(ends))?.what;
  return found ?? geomLabel(ends);
}

function magicAt(at: number, magic: string): (ends: MediumEnds) => boolean {
  const bytes = Buffer.from(magic, 'latin1');
  return ({ head }) => head.subarray(at, at + bytes.length).equals(bytes);
}

/** At one of these places, in either byte order: file systems are written in that of the machine that made them. */
function hasU32(value: number, ...places: readonly number[]): (ends: MediumEnds) => boolean {
  return ({ head }) =>
    places.some(
      (at) => at + 4 <= head.length && (head.readUInt32LE(at) === value || head.readUInt32BE(at) === value),
    );
}

/** s_magic, s_feature_compat and s_feature_incompat of the superblock at 1,024. Source: Linux fs/ext4/ext4.h. */
function extOf(head: Buffer): string | null {
  if (head.length < 2048 || head.readUInt16LE(1024 + 0x38) !== 0xef53) return null;
  const hasJournal = Math.floor(head.readUInt32LE(1024 + 0x5c) / 0x4) % 2 === 1;
  const hasExtents = Math.floor(head.readUInt32LE(1024 + 0x60) / 0x40) % 2 === 1;
  return `an ${hasExtents ? 'ext4' : hasJournal ? 'ext3' : 'ext2'} file system`;
}

/** The label is in one of the first four sectors of 512 bytes. Source: lvm2, lib/label/label.h. */
function isLvm(ends: MediumEnds): boolean {
  return [0, 512, 1024, 1536].some((at) => magicAt(at, 'LABELONE')(ends));
}

function isFat(ends: MediumEnds): boolean {
  if (!hasBootSignature(ends.head)) return false;
  return ['FAT12   ', 'FAT16   '].some((name) => magicAt(54, name)(ends)) || magicAt(82, 'FAT32   ')(ends);
}

const hasBootSignature = (head: Buffer): boolean => head.length >= 512 && head.readUInt16BE(510) === 0x55aa;

/**
 * The first label's ring of uberblocks: from 128 KiB to 256 KiB, 1 KiB each at least. The magic is the low half of 64
 * bits, which comes first or second by byte order. Source: OpenZFS sys/vdev_impl.h.
 */
function isZfs(ends: MediumEnds): boolean {
  for (let at = 131_072; at < 262_144; at += 1024) {
    if (hasU32(ZFS_UBERBLOCK_MAGIC, at, at + 4)(ends)) return true;
  }
  return false;
}

function isSwap(ends: MediumEnds): boolean {
  return SWAP.pageSizesBytes.some((page) => magicAt(page - SWAP.magic.length, SWAP.magic)(ends));
}

/** The header is in the second sector, its copy in the last. Source: UEFI specification, 5.3. */
function isGpt(ends: MediumEnds): boolean {
  const isFirst = [512, ends.sectorSizeBytes].some((at) => magicAt(at, 'EFI PART')(ends));
  return isFirst || lastSector(ends).subarray(0, 8).toString('latin1') === 'EFI PART';
}

/** Four entries of 16 bytes at 446: status 0 or 0x80, a type at 4, a number of sectors at 12. */
function isMbr({ head }: MediumEnds): boolean {
  if (!hasBootSignature(head)) return false;
  return [446, 462, 478, 494].some((at) => {
    const status = head.readUInt8(at);
    return (
      (status === 0 || status === 0x80) && head.readUInt8(at + 4) !== 0 && head.readUInt32LE(at + 12) > 0
    );
  });
}

/** GEOM classes label a provider in its last sector, which starts with 'GEOM::' and their name. Source: sys/geom. */
function geomLabel(ends: MediumEnds): string | null {
  const magic = /^GEOM::([A-Z0-9_]{1,10})/.exec(lastSector(ends).subarray(0, 16).toString('latin1'));
  const label = magic?.[1];
  if (label === undefined) return null;
  return label === 'MIRROR' ? 'a gmirror label' : `a label of GEOM class ${label}`;
}

function lastSector({ tail, sectorSizeBytes }: MediumEnds): Buffer {
  return tail.subarray(Math.max(tail.length - sectorSizeBytes, 0));
}
