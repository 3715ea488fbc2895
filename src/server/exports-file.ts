import { lookup } from 'node:dns/promises';
import { readFile, stat } from 'node:fs/promises';
import { resolve as resolvePath } from 'node:path';
import type { Clock } from '../device/clock.js';
import { addressBits, addressBlock, parsePeerAddress, type AddressBlock } from '../protocol/addresses.js';
import { ProtocolError, messageOf } from '../protocol/errors.js';
import {
  checkExportPath,
  parseExportHost,
  parseExportMode,
  parseExports,
  type ExportHost,
} from '../protocol/exports.js';
import type { ExportEntry, ExportList, ExportMatcher } from './access.js';
import { EXPORTS_FILE_BYTES_MAX, NAME_LOOKUP_MS } from './limits.js';
import { within } from './within.js';

/** All numeric addresses of a host name. Rejects if there are none. */
export type ResolveName = (name: string) => Promise<readonly string[]>;

export const systemResolveName: ResolveName = async (name) =>
  (await lookup(name, { all: true })).map(({ address }) => address);

export interface ExportsDeps {
  readonly clock: Clock;
  readonly resolveName: ResolveName;
}

/**
 * Reads an exports file and looks up the names in it, once, as ggated does, but all addresses of each. Throws
 * ProtocolError PROTOCOL_FORMAT with a message for the administrator: a file that can't be read, a line that is wrong
 * (`FILE:LINE: ...`), a name that has no address or none in time.
 */
export async function loadExports(fileName: string, deps: ExportsDeps): Promise<ExportList> {
  const lines = parseExports(await readExportsFile(fileName), fileName);
  const drafts = lines.map(({ lineNumber, host, access, path }) => ({
    origin: `${fileName}:${lineNumber}`,
    host,
    access,
    path,
  }));
  return resolveDrafts(drafts, deps);
}

/** Who may use the images of a command line that has no --allow: this machine. */
const LOOPBACK_RULES = ['127.0.0.0/8,rw', '::1,rw'] as const;

/**
 * The exports of a command line: every image, under its absolute path, for every rule `ADDRESS[/BITS][,ro|wo|rw]`
 * (a name or tls:NAME in place of an address will do; without a mode it is rw). As in an exports file the rule given
 * last is tried first. Without a rule the images are for this machine only. Throws PROTOCOL_FORMAT.
 */
export async function exportImages(
  images: readonly string[],
  rules: readonly string[],
  deps: ExportsDeps,
): Promise<ExportList> {
  const paths = images.map((image) => checkExportPath(resolvePath(image), image));
  const drafts = (rules.length === 0 ? LOOPBACK_RULES : rules).flatMap((rule) => {
    const parsed = parseAllowRule(rule);
    return paths.map((path) => ({ ...parsed, path }));
  });
  return resolveDrafts(drafts, deps);
}

/** One rule of a command line. Throws PROTOCOL_FORMAT. */
export function parseAllowRule(rule: string): Pick<Draft, 'origin' | 'host' | 'access'> {
  const origin = `--allow ${rule}`;
  const [, host = rule, mode = 'rw'] = /^(.*?)(?:,([^,]*))?$/s.exec(rule) ?? [];
  return { origin, host: parseExportHost(host, origin), access: parseExportMode(mode, origin) };
}

interface Draft extends Omit<ExportEntry, 'matcher'> {
  readonly host: ExportHost;
}

async function resolveDrafts(drafts: readonly Draft[], deps: ExportsDeps): Promise<ExportList> {
  const addresses = await resolveAll(drafts, deps);
  return drafts.map(({ host, ...entry }) => ({ ...entry, matcher: toMatcher(host, addresses) })).reverse();
}

function toMatcher(host: ExportHost, addresses: ReadonlyMap<string, readonly string[]>): ExportMatcher {
  if (host.kind === 'certificate') return host;
  if (host.kind === 'block') return { kind: 'blocks', blocks: [host.block] };
  return {
    kind: 'blocks',
    blocks: (addresses.get(host.name) ?? []).flatMap((address) => blockOf(address, host.prefixBits)),
  };
}

function blockOf(text: string, ipv4PrefixBits: number): AddressBlock[] {
  const address = parsePeerAddress(text);
  if (address === null) return [];
  return [addressBlock(address, address.family === 4 ? ipv4PrefixBits : addressBits(6))];
}

async function resolveAll(
  drafts: readonly Draft[],
  { clock, resolveName }: ExportsDeps,
): Promise<ReadonlyMap<string, readonly string[]>> {
  const originOf = new Map<string, string>();
  for (const { host, origin } of drafts) {
    if (host.kind === 'name' && !originOf.has(host.name)) originOf.set(host.name, origin);
  }
  const found = new Map<string, readonly string[]>();
  await Promise.all(
    [...originOf].map(async ([name, origin]) => {
      const what = `${origin}: the host name '${name}' can't be looked up`;
      try {
        const limits = { clock, limitMs: NAME_LOOKUP_MS, what: 'the resolver' };
        found.set(name, await within(limits, resolveName(name)));
      } catch (cause) {
        throw unusable(what, cause);
      }
    }),
  );
  return found;
}

async function readExportsFile(fileName: string): Promise<string> {
  try {
    const stats = await stat(fileName);
    // Opening a FIFO would wait for its writer.
    if (!stats.isFile()) throw new Error('it is not a regular file');
    if (stats.size > EXPORTS_FILE_BYTES_MAX)
      throw new Error(`it has more than ${EXPORTS_FILE_BYTES_MAX} bytes`);
    return new TextDecoder('utf-8', { fatal: true }).decode(await readFile(fileName));
  } catch (cause) {
    throw unusable(`${fileName}: the exports file can't be read`, cause);
  }
}

function unusable(what: string, cause: unknown): ProtocolError {
  const why = messageOf(cause);
  return new ProtocolError('PROTOCOL_FORMAT', `${what}: ${why}`, { cause });
}
