import type { AddressBlock } from '../../protocol/addresses.js';
import { addressBits } from '../../protocol/addresses.js';
import type { ExportEntry } from '../../server/access.js';

/** For the log: what is exported, to whom and how, and where that was written down. */
export function describeExport({
  origin,
  matcher,
  access,
  path,
}: ExportEntry): Readonly<Record<string, string>> {
  const host =
    matcher.kind === 'certificate' ? `tls:${matcher.name}` : matcher.blocks.map(formatBlock).join(',');
  return { path, host, mode: access, origin };
}

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
