import {
  addressBits,
  addressBlock,
  parseInetAddress,
  parseIpv6Address,
  type AddressBlock,
} from './addresses.js';
import { ProtocolError } from './errors.js';
import { CLIENT_INITIAL, type AccessMode } from './handshake.js';

/** Whom an export is for. */
export type ExportHost =
  | { readonly kind: 'block'; readonly block: AddressBlock }
  /** To be looked up. `prefixBits` (0 to 32) is for its IPv4 addresses; IPv6 addresses are taken whole. */
  | { readonly kind: 'name'; readonly name: string; readonly prefixBits: number }
  /** The name in a client certificate, compared as it is written. */
  | { readonly kind: 'certificate'; readonly name: string };

export interface ExportLine {
  /** From 1. */
  readonly lineNumber: number;
  readonly host: ExportHost;
  readonly access: AccessMode;
  /** What a client must name, byte for byte; also the file that is served. */
  readonly path: string;
}

const MODES: Readonly<Record<string, AccessMode>> = { ro: 'ro', rd: 'ro', wo: 'wo', rw: 'rw' };

/**
 * Reads an exports file as ggated does (ggate protocol spec, section 8; FreeBSD 12.1 ggated.c, line_parse): three words
 * a line, host, mode and path, separated by blanks; lines whose first word starts with '#' are comments. The lines come
 * back in the file's order; **later ones are tried first**, which is the business of whoever looks them up.
 *
 * What goes further than ggated: IPv6 addresses with 0 to 128 bits, `tls:NAME` for the name in a client certificate,
 * and lines of any length. Where it is stricter, on purpose:
 * - the number of bits must be digits and nothing else; ggated takes '24x' for 24 and lets huge numbers wrap;
 * - a host that looks like an IPv4 address but is none is an error here, not a name that the resolver fails on later;
 * - a carriage return at the end of a line is dropped; ggated would take it for a part of the path, and no client
 *   could ever name that.
 *
 * Throws PROTOCOL_FORMAT with `FILE:LINE: what is wrong`, also for a file that exports nothing.
 */
export function parseExports(text: string, fileName: string): ExportLine[] {
  const lines: ExportLine[] = [];
  for (const [index, raw] of text.split('\n').entries()) {
    const words = raw.replace(/\r$/, '').match(/[^ \t]+/g);
    if (words === null || words[0].startsWith('#')) continue;
    lines.push(parseLine(words, `${fileName}:${index + 1}`, index + 1));
  }
  if (lines.length === 0) {
    throw formatError(fileName, 'there are no objects to export; a line is HOST[/BITS] RO|WO|RW PATH');
  }
  return lines;
}

function parseLine(words: readonly string[], where: string, lineNumber: number): ExportLine {
  const [host, mode, path] = words;
  if (host === undefined || mode === undefined || path === undefined) {
    throw formatError(where, 'too few words; a line is HOST[/BITS] RO|WO|RW PATH');
  }
  if (words.length > 3) {
    throw formatError(
      where,
      `too many words, '${words[3] ?? ''}' is one; a line is HOST[/BITS] RO|WO|RW PATH`,
    );
  }
  return {
    lineNumber,
    host: parseExportHost(host, where),
    access: parseExportMode(mode, where),
    path: checkExportPath(path, where),
  };
}

/** RO (or RD), WO or RW in any case. `where` starts the message of the PROTOCOL_FORMAT that it throws. */
export function parseExportMode(word: string, where: string): AccessMode {
  const access = Object.hasOwn(MODES, word.toLowerCase()) ? MODES[word.toLowerCase()] : undefined;
  if (access === undefined) throw formatError(where, `'${word}' is not an access mode; use RO, WO or RW`);
  return access;
}

/** Returns the path if a client can name it. Throws PROTOCOL_FORMAT. */
export function checkExportPath(path: string, where: string): string {
  const lengthBytes = Buffer.byteLength(path, 'utf8');
  const lengthBytesMax = CLIENT_INITIAL.pathSizeBytes - 2;
  if (lengthBytes > lengthBytesMax) {
    throw formatError(where, `the path has ${lengthBytes} bytes; at most ${lengthBytesMax} are possible`);
  }
  if (path.includes('\0')) throw formatError(where, 'the path has a NUL byte; no client can name it');
  return path;
}

/** ADDRESS[/BITS], NAME[/BITS] or tls:NAME. Throws PROTOCOL_FORMAT. */
export function parseExportHost(word: string, where: string): ExportHost {
  const certificate = /^tls:(.*)$/is.exec(word)?.[1];
  if (certificate === '') throw formatError(where, "'tls:' needs the name in the client's certificate");
  if (certificate !== undefined) return { kind: 'certificate', name: certificate };

  const slashAt = word.indexOf('/');
  const host = slashAt < 0 ? word : word.slice(0, slashAt);
  const bits = slashAt < 0 ? null : word.slice(slashAt + 1);
  const ipv6 = parseIpv6Address(host);
  if (ipv6 !== null) {
    return { kind: 'block', block: addressBlock(ipv6, parseBits(bits, 6, where)) };
  }
  const ipv4 = parseInetAddress(host);
  if (ipv4 !== null) {
    if (ipv4.value === 0xffff_ffffn) throw formatError(where, `'${host}' is the address of no host`);
    return { kind: 'block', block: addressBlock(ipv4, parseBits(bits, 4, where)) };
  }
  if (!isHostName(host)) throw formatError(where, `'${host}' is neither an address nor a host name`);
  return { kind: 'name', name: host, prefixBits: parseBits(bits, 4, where) };
}

function parseBits(text: string | null, family: 4 | 6, where: string): number {
  const bitsMax = addressBits(family);
  if (text === null) return bitsMax;
  const bits = Number(text);
  if (!/^\d+$/.test(text) || bits > bitsMax) {
    throw formatError(where, `'/${text}' is not a number of mask bits; use /0 to /${bitsMax}`);
  }
  return bits;
}

/** A name's last label is not a number, or it would be an address with a mistake in it. */
const isHostName = (text: string): boolean =>
  /^[a-z0-9_]([a-z0-9_.-]*[a-z0-9_.])?$/i.test(text) &&
  !text.includes('..') &&
  !/(^|\.)(\d+|0x[0-9a-f]*)\.?$/i.test(text);

const formatError = (where: string, what: string): ProtocolError =>
  new ProtocolError('PROTOCOL_FORMAT', `${where}: ${what}`);
