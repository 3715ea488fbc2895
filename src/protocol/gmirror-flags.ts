/**
 * Flag words and balance numbers of gmirror's label. Source: gmirror metadata spec, section 2; FreeBSD 12.1 g_mirror.h.
 * A flag word has 64 bits, more than a number can hold or a bitwise operator can reach, so it becomes a claim a flag.
 */

/** Bit numbers of the mirror's flags, in the order in which gmirror prints them. */
export const MIRROR_FLAG_BITS = { noFailSync: 1, noAutoSync: 0 } as const;
/** Bit numbers of a component's flags. Bits 4 (HARDCODED) and 5 (BROKEN) exist in a kernel's memory only. */
export const DISK_FLAG_BITS = {
  dirty: 0,
  synchronizing: 1,
  forceSync: 2,
  inactive: 3,
  canDelete: 6,
} as const;

const FLAG_WORD_BYTES = 8;

/** A flag word: one claim for each flag that has a name, and the numbers of the other bits that are set. */
export type FlagWord<Name extends string> = Readonly<Record<Name, boolean>> & {
  /** The kernel refuses a label that has any. Ascending. */
  readonly otherBits: readonly number[];
};
export type MirrorFlags = FlagWord<keyof typeof MIRROR_FLAG_BITS>;
export type DiskFlags = FlagWord<keyof typeof DISK_FLAG_BITS>;

export const NO_MIRROR_FLAGS: MirrorFlags = { noFailSync: false, noAutoSync: false, otherBits: [] };
export const NO_DISK_FLAGS: DiskFlags = {
  dirty: false,
  synchronizing: false,
  forceSync: false,
  inactive: false,
  canDelete: false,
  otherBits: [],
};

/** Reads a little-endian flag word. `bits` gives each name its bit number. */
export function readFlags<Name extends string>(
  bytes: Buffer,
  at: number,
  bits: Readonly<Record<Name, number>>,
): FlagWord<Name> {
  const isSet = (bit: number): boolean =>
    Math.floor(bytes.readUInt8(at + Math.floor(bit / 8)) / 2 ** (bit % 8)) % 2 === 1;
  const entries = Object.entries<number>(bits);
  const named = new Set(entries.map(([, bit]) => bit));
  const otherBits = Array.from({ length: FLAG_WORD_BYTES * 8 }, (_, bit) => bit).filter(
    (bit) => !named.has(bit) && isSet(bit),
  );
  const claims = Object.fromEntries(entries.map(([name, bit]) => [name, isSet(bit)]));
  return { ...(claims as Record<Name, boolean>), otherBits };
}

/** Writes a little-endian flag word over eight zero bytes. Only bits with names are written; they are all below 8. */
export function writeFlags<Name extends string>(
  bytes: Buffer,
  at: number,
  bits: Readonly<Record<Name, number>>,
  flags: FlagWord<Name>,
): void {
  let value = 0;
  for (const name of Object.keys(bits) as Name[]) if (flags[name]) value += 2 ** bits[name];
  bytes.writeUInt8(value, at);
}

/** Names of the balance algorithms by their number on disk. */
export const BALANCE_NAMES = ['none', 'round-robin', 'load', 'split', 'prefer'] as const;
export type BalanceName = (typeof BALANCE_NAMES)[number];

/** As gmirror prints it: 'unknown' for a number without a name. */
export const balanceName = (balance: number): BalanceName | 'unknown' => BALANCE_NAMES[balance] ?? 'unknown';

/** The number on disk of a balance algorithm. */
export const balanceNumber = (name: BalanceName): number => BALANCE_NAMES.indexOf(name);
