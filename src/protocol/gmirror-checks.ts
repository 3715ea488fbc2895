import type { ErrnoName } from './errno.js';
import { ProtocolError } from './errors.js';
import { isPowerOfTwo } from './geometry.js';
import { decodeLabel, labelOffsetBytes, type DecodedLabel, type GmirrorLabel } from './gmirror-label.js';

/** Two kernels that decide differently: 12.1 and the like, and those from 14 on. */
export type KernelEra = 'FreeBSD 12' | 'FreeBSD 14';

/** The provider in whose last sector a label was found. */
export interface LabelledProvider {
  /** As the kernel names it, without `/dev/`; null where no kernel gives it a name, and the name is not checked. */
  readonly kernelName: string | null;
  readonly mediaSizeBytes: number;
  readonly sectorSizeBytes: number;
}

/** The mirror of the label's name that the kernel has already, from components that it tasted before. */
export interface TastedMirror {
  readonly mid: number;
  /** In state RUNNING, no longer STARTING. */
  readonly isRunning: boolean;
  readonly all: number;
  readonly sliceBytes: number;
  readonly balance: number;
  readonly mediaSizeBytes: number;
  readonly sectorSizeBytes: number;
  readonly genid: number;
  readonly syncid: number;
  /** Component ids (did) that it has. */
  readonly dids: readonly number[];
}

export interface LabelRefusal {
  /** Row of the table in the gmirror metadata spec, section 4. */
  readonly step: number;
  /** Null: the kernel takes the provider for none of its own. */
  readonly errno: ErrnoName | null;
  /** A clause whose subject is the component: 'is marked as inactive'. */
  readonly reason: string;
}

interface Tasting {
  readonly label: GmirrorLabel;
  readonly provider: LabelledProvider;
  /** Null for the first component: the mirror is then made from its label. */
  readonly found: TastedMirror | null;
  readonly mirror: TastedMirror;
  readonly era: KernelEra;
}

interface LabelCheck {
  readonly step: number;
  readonly errno: ErrnoName | null;
  readonly reason: string;
  /** True where the kernel refuses. */
  fails(tasting: Tasting): boolean;
}

/**
 * What the kernel checks once a label is decoded, in its order. Source: gmirror metadata spec, section 4, steps 5 to
 * 17; FreeBSD 12.1 g_mirror.c, g_mirror_taste, g_mirror_check_metadata, g_mirror_add_disk.
 */
export const LABEL_CHECKS: readonly LabelCheck[] = [
  {
    step: 5,
    errno: null,
    reason: 'is not the provider that its label names',
    fails: ({ label, provider }) =>
      label.hardcodedProvider !== '' &&
      provider.kernelName !== null &&
      !areSameDisk(label.hardcodedProvider, provider.kernelName),
  },
  {
    step: 6,
    errno: null,
    reason: 'has another size than its label says',
    fails: ({ label, provider }) =>
      label.providerSizeBytes !== 0 && label.providerSizeBytes !== provider.mediaSizeBytes,
  },
  {
    step: 7,
    errno: null,
    reason: 'is marked as inactive',
    fails: ({ label }) => label.diskFlags.inactive,
  },
  {
    step: 8,
    errno: null,
    reason: 'belongs to another mirror of the same name',
    fails: ({ label, found }) => found !== null && found.mid !== label.mid,
  },
  {
    step: 9,
    errno: null,
    reason: 'says that its mirror has no components',
    fails: ({ label, found }) => found === null && label.all < 1,
  },
  {
    step: 10,
    errno: 'EEXIST',
    reason: 'has the component id of one that is there already',
    fails: ({ label, found }) => found?.dids.includes(label.did) ?? false,
  },
  {
    step: 11,
    errno: 'EINVAL',
    reason: 'says another number of components than its mirror',
    fails: ({ label, mirror, era }) => era === 'FreeBSD 12' && label.all !== mirror.all,
  },
  {
    step: 11,
    errno: 'EINVAL',
    reason: 'says another slice than its mirror',
    fails: ({ label, mirror, era }) => era === 'FreeBSD 12' && label.sliceBytes !== mirror.sliceBytes,
  },
  {
    step: 11,
    errno: 'EINVAL',
    reason: 'says another balance algorithm than its mirror',
    fails: ({ label, mirror, era }) => era === 'FreeBSD 12' && label.balance !== mirror.balance,
  },
  {
    step: 12,
    errno: 'EINVAL',
    reason: 'is smaller than its mirror',
    fails: ({ provider, mirror }) => mirror.mediaSizeBytes > provider.mediaSizeBytes,
  },
  {
    step: 13,
    errno: 'EINVAL',
    reason: 'says another sector size than its mirror',
    fails: ({ label, mirror }) => label.sectorSizeBytes !== mirror.sectorSizeBytes,
  },
  {
    step: 14,
    errno: 'EINVAL',
    reason: "has sectors that do not divide its mirror's",
    fails: ({ provider, mirror }) => mirror.sectorSizeBytes % provider.sectorSizeBytes !== 0,
  },
  {
    step: 15,
    errno: 'EINVAL',
    reason: 'has flags in its label that nobody knows',
    fails: ({ label }) => label.mirrorFlags.otherBits.length + label.diskFlags.otherBits.length > 0,
  },
  {
    step: 16,
    errno: 'EINVAL',
    reason: 'is broken: its mirror went on without it',
    fails: ({ label, mirror, era }) =>
      label.genid < mirror.genid && (mirror.isRunning || era === 'FreeBSD 14'),
  },
  {
    step: 17,
    errno: 'EINVAL',
    reason: 'is newer than its mirror, which was started without it',
    fails: ({ label, mirror, era }) =>
      era === 'FreeBSD 14' && mirror.isRunning && compareFreshness(label, mirror) > 0,
  },
];

/**
 * Why the kernel would not take a component whose label is decoded, or null. `mirror` is what it knows under the
 * label's name already, null for the first component that it tastes.
 */
export function labelRefusal(
  label: GmirrorLabel,
  provider: LabelledProvider,
  mirror: TastedMirror | null = null,
  era: KernelEra = 'FreeBSD 12',
): LabelRefusal | null {
  const tasting = { label, provider, found: mirror, mirror: mirror ?? mirrorOf(label), era };
  const failed = LABEL_CHECKS.find((check) => check.fails(tasting));
  return failed === undefined ? null : { step: failed.step, errno: failed.errno, reason: failed.reason };
}

/** A provider's last sector, read and judged as the kernel does it. The label is null where it can't be read. */
export interface JudgedSector {
  readonly label: DecodedLabel | null;
  readonly refusal: LabelRefusal | null;
}

/** Steps 2 to 17 for a sector as it was read; takes what labelRefusal takes. */
export function judgeSector(
  sector: Buffer,
  provider: LabelledProvider,
  mirror: TastedMirror | null = null,
  era: KernelEra = 'FreeBSD 12',
): JudgedSector {
  try {
    const label = decodeLabel(sector);
    return { label, refusal: labelRefusal(label, provider, mirror, era) };
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    return { label: null, refusal: UNREADABLE[error.code] ?? TOO_LARGE };
  }
}

const UNREADABLE: Partial<Record<ProtocolError['code'], LabelRefusal>> = {
  PROTOCOL_MAGIC: { step: 2, errno: null, reason: 'has no gmirror label' },
  PROTOCOL_VERSION: { step: 3, errno: null, reason: 'has a label of a newer gmirror' },
  PROTOCOL_FORMAT: { step: 4, errno: null, reason: 'has a damaged label' },
};
// A mirror of 2^53 bytes is larger than any provider that we can open.
const TOO_LARGE: LabelRefusal = { step: 12, errno: 'EINVAL', reason: 'is smaller than its mirror' };

/**
 * Why we could not work with a label that the kernel takes, or null: it divides by nothing and writes no label over
 * data. The kernel checks neither when it tastes (gmirror metadata spec, section 3).
 */
export function unusableReason(label: GmirrorLabel, provider: LabelledProvider): string | null {
  const { sectorSizeBytes, mediaSizeBytes } = label;
  if (!isPowerOfTwo(sectorSizeBytes)) return `has a label with sectors of ${sectorSizeBytes} bytes`;
  if (sectorSizeBytes % provider.sectorSizeBytes !== 0) return "has sectors that do not divide its mirror's";
  if (mediaSizeBytes < sectorSizeBytes) return `has a label of a mirror of ${mediaSizeBytes} bytes`;
  if (mediaSizeBytes % sectorSizeBytes !== 0) return 'has a label of a mirror that ends inside a sector';
  if (mediaSizeBytes > labelOffsetBytes(provider)) return 'has its label inside the data of its mirror';
  return null;
}

/** Which of two label states is newer: by generation, then by syncid. Negative: `one` is older; 0: neither. */
export function compareFreshness(
  one: { readonly genid: number; readonly syncid: number },
  other: { readonly genid: number; readonly syncid: number },
): number {
  return one.genid === other.genid ? one.syncid - other.syncid : one.genid - other.genid;
}

/** The mirror that the kernel makes of the first label that it tastes. */
function mirrorOf(label: GmirrorLabel): TastedMirror {
  const { mid, all, sliceBytes, balance, mediaSizeBytes, sectorSizeBytes, genid, syncid } = label;
  const values = { mid, all, sliceBytes, balance, mediaSizeBytes, sectorSizeBytes, genid, syncid };
  return { ...values, isRunning: false, dids: [] };
}

/** ATA disks changed their names from adN to adaN; the kernel takes one for the other, whatever the numbers. */
function areSameDisk(one: string, other: string): boolean {
  if (one === other) return true;
  const [rest, otherRest] = [one, other].map((name) => /^ada?\d+(.*)$/s.exec(name)?.[1]);
  return rest !== undefined && rest === otherRest;
}
