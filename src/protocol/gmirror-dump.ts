import {
  DISK_FLAG_BITS,
  MIRROR_FLAG_BITS,
  balanceName,
  type DiskFlags,
  type FlagWord,
  type MirrorFlags,
} from './gmirror-flags.js';
import { displayText, type DecodedLabel } from './gmirror-label.js';

/** gmirror's words for flags. It has none for CANDELETE here, though it stores it. */
const MIRROR_FLAG_WORDS = { noFailSync: 'NOFAILSYNC', noAutoSync: 'NOAUTOSYNC' } as const;
const DISK_FLAG_WORDS = {
  dirty: 'DIRTY',
  synchronizing: 'SYNCHRONIZING',
  forceSync: 'FORCE_SYNC',
  inactive: 'INACTIVE',
  canDelete: null,
} as const;

/** 'magic', 'sectorsize' ... end in this column. */
const KEY_WIDTH = 10;

/**
 * A label as `gmirror dump` prints it, with the empty line that follows; `provider` is the name that it was asked for.
 * Source: gmirror behaviour spec, section 6, and what FreeBSD 12.1 printed (test/fixtures/labels/commands.txt).
 */
export function formatLabelDump(provider: string, label: DecodedLabel): string {
  const pairs: readonly (readonly [string, string | number])[] = [
    ['magic', 'GEOM::MIRROR'],
    ['version', label.version],
    ['name', displayText(label.name)],
    ['mid', label.mid],
    ['did', label.did],
    ['all', label.all],
    ['genid', label.genid],
    ['syncid', label.syncid],
    ['priority', label.priority],
    ['slice', label.sliceBytes],
    ['balance', balanceName(label.balance)],
    ['mediasize', label.mediaSizeBytes],
    ['sectorsize', label.sectorSizeBytes],
    ['syncoffset', label.syncOffsetBytes],
    ['mflags', flagText(label.mirrorFlags, mirrorFlagWords(label.mirrorFlags))],
    ['dflags', flagText(label.diskFlags, diskFlagWords(label.diskFlags))],
    ['hcprovider', displayText(label.hardcodedProvider)],
    ['provsize', label.providerSizeBytes],
    ['MD5 hash', label.md5],
  ];
  const lines = pairs.map(([key, value]) => `${key.padStart(KEY_WIDTH)}: ${value}\n`);
  return `Metadata on ${provider}:\n${lines.join('')}\n`;
}

/** gmirror's words for the flags that are set. */
export const mirrorFlagWords = (flags: MirrorFlags): string[] =>
  wordsOf(flags, MIRROR_FLAG_BITS, MIRROR_FLAG_WORDS);
export const diskFlagWords = (flags: DiskFlags): string[] => wordsOf(flags, DISK_FLAG_BITS, DISK_FLAG_WORDS);

function wordsOf<Name extends string>(
  flags: FlagWord<Name>,
  bits: Readonly<Record<Name, number>>,
  words: Readonly<Record<Name, string | null>>,
): string[] {
  const set = (Object.keys(bits) as Name[]).filter((name) => flags[name]);
  return set.map((name) => words[name]).filter((word) => word !== null);
}

/** NONE means that the whole word is 0; flags without a word leave the value empty. */
function flagText(flags: MirrorFlags | DiskFlags, words: readonly string[]): string {
  const { otherBits, ...claims } = flags;
  return otherBits.length === 0 && !Object.values(claims).includes(true) ? 'NONE' : words.join(' ');
}
