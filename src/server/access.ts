import { isInBlock, parsePeerAddress, type AddressBlock } from '../protocol/addresses.js';
import type { AccessMode } from '../protocol/handshake.js';
import type { Peer } from './halves.js';

/** Whom an export is for, names looked up. A host name may stand for several blocks. */
export type ExportMatcher =
  | { readonly kind: 'blocks'; readonly blocks: readonly AddressBlock[] }
  | { readonly kind: 'certificate'; readonly name: string };

export interface ExportEntry {
  /** Where it was written down, for people: 'gg.exports:3', '--allow 10.0.0.0/8'. */
  readonly origin: string;
  readonly matcher: ExportMatcher;
  readonly access: AccessMode;
  readonly path: string;
}

/** In the order in which they are tried: the line written last comes first, as in ggated. */
export type ExportList = readonly ExportEntry[];

/**
 * The export that decides about this peer and path: the first match, and no further one even if it forbids what the
 * peer wants (ggate protocol spec, section 4). Paths are compared byte for byte. Null if there is none.
 */
export function findExport(exports: ExportList, peer: Peer, path: string): ExportEntry | null {
  return exports.find((entry) => entry.path === path && matches(entry.matcher, peer)) ?? null;
}

function matches(matcher: ExportMatcher, peer: Peer): boolean {
  if (matcher.kind === 'certificate') return peer.certificateNames.includes(matcher.name);
  const address = parsePeerAddress(peer.address);
  return address !== null && matcher.blocks.some((block) => isInBlock(block, address));
}

/** What each export mode lets in. Source: ggate protocol spec, section 4, mode matrix; ggated.c, exports_check. */
const ALLOWED: Readonly<Record<AccessMode, readonly AccessMode[]>> = {
  ro: ['ro'],
  wo: ['wo'],
  rw: ['ro', 'wo', 'rw'],
};

export const allows = (request: AccessMode, exported: AccessMode): boolean =>
  ALLOWED[exported].includes(request);
