import type { AddressBlock } from '../../protocol/addresses.js';
import { addressBits } from '../../protocol/addresses.js';
import type { ExportEntry, ExportList } from '../../server/access.js';

/** More of them are a count: nobody reads them, and the log is read at every start. */
const DESCRIBED_MAX = 50;

interface Description {
  readonly fields: Readonly<Record<string, unknown>>;
  readonly message: string;
}

/** For the log: what is exported, to whom and how, as it was written down, the entry that is tried first last. */
export function describeExports(exports: ExportList): Description[] {
  const described = exports.slice(0, DESCRIBED_MAX).map(describe).reverse();
  const more = exports.length - described.length;
  if (more > 0)
    described.unshift({ fields: { exports: more }, message: `exports ${more} more, not shown here` });
  return described;
}

const describe = ({ origin, matcher, access, path }: ExportEntry): Description => {
  const host =
    matcher.kind === 'certificate' ? `tls:${matcher.name}` : matcher.blocks.map(formatBlock).join(', ');
  return { fields: { path, host, mode: access, origin }, message: `exports ${path} to ${host}, ${access}` };
};

/** '192.168.1.100', '10.0.0.0/8', 'fe80::/10'; at most one run of zeros is left out, not always the longest. */
export function formatBlock({ family, network, prefixBits }: AddressBlock): string {
  const suffix = prefixBits === addressBits(family) ? '' : `/${prefixBits}`;
  if (family === 4) return `${digits(network, 4, 256n).join('.')}${suffix}`;
  const groups = digits(network, 8, 0x1_0000n).map((group) => group.toString(16));
  const short = groups.join(':').replace(/(^|:)0(:0)+(:|$)/, '::');
  return `${short}${suffix}`;
}

/** The last `count` digits of a number, highest first. */
function digits(value: bigint, count: number, base: bigint): bigint[] {
  return Array.from({ length: count }, (_, index) => (value / base ** BigInt(count - 1 - index)) % base);
}
