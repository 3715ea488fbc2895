import { Command } from 'commander';
import { parseComponent, type ComponentSpec } from '../../control/component-spec.js';
import type { ClientTls } from '../../client/options.js';
import { ProtocolError } from '../../protocol/errors.js';
import { diskFlagWords, formatLabelDump, mirrorFlagWords } from '../../protocol/gmirror-dump.js';
import { balanceName } from '../../protocol/gmirror-flags.js';
import { decodeLabel, displayText, type DecodedLabel } from '../../protocol/gmirror-label.js';
import type { Superblock } from '../../protocol/superblock.js';
import { CommandError } from '../errors.js';
import { printResult, writeQuietly } from '../output.js';
import { COMPONENT_HELP } from '../component-help.js';
import { formatSuperblock, readSuperblock, superblockAsJson } from '../provider-area.js';
import { readLabelSector, reasonOf } from '../provider-labels.js';
import { addRemoteOptions, tlsOf, type RemoteFlags } from '../remote-options.js';

interface DumpFlags extends RemoteFlags {
  readonly area?: boolean;
  readonly json?: boolean;
}

/** What `dump --json` prints of each provider: its label, or why there is none to show. */
interface Dumped {
  readonly provider: string;
  readonly label: DecodedLabel | null;
  /** Null if it was not asked for, or is none. */
  readonly superblock: Superblock | null;
  /** Without a line end; null if there is all that was asked for. */
  readonly failure: string | null;
}

const EXAMPLES = `
Examples:
  ggmirror dump /root/images/sites.img ggate://192.168.1.101/root/images/sites.img
  ggmirror dump --area /root/images/sites.img
      with its generations, and what it knows of the other components, while no mirror runs`;

/** `ggmirror dump`: the labels of a mirror's components, as `gmirror dump` prints them, and more if asked. Changes nothing. */
export function dumpCommand(): Command {
  const command = new Command('dump')
    .description("show the mirror's label at the end of images, disks or exports")
    .argument('<provider...>', COMPONENT_HELP)
    .option('-a, --area', "show also what the mirror's private area says: generations, and who is behind")
    .option('--json', 'print everything as JSON')
    .addHelpText('after', EXAMPLES);
  return addRemoteOptions(command).action(async (providers: readonly string[], flags: DumpFlags) => {
    const tls = tlsOf(flags);
    const isJson = flags.json === true;
    const all: Dumped[] = [];
    for (const text of providers) {
      const dumped = await dump(parseComponent(text), { tls, hasArea: flags.area === true });
      all.push(dumped);
      if (!isJson) print(dumped);
    }
    printResult(isJson, all.map(asJson), () => []);
    if (all.some(({ failure }) => failure !== null)) throw new CommandError('Not fully done.');
  });
}

async function dump(
  { provider, area }: ComponentSpec,
  { tls, hasArea }: { readonly tls: ClientTls; readonly hasArea: boolean },
): Promise<Dumped> {
  const none = { provider, label: null, superblock: null };
  let label: DecodedLabel | null = null;
  try {
    label = labelOf(await readLabelSector(provider, tls));
    if (label === null) return { ...none, failure: `MD5 hash mismatch for ${provider}, skipping.` };
    if (!hasArea) return { ...none, label, failure: null };
    const found = await readSuperblock({ provider, area, mediaSizeBytes: label.mediaSizeBytes }, tls);
    if (found.state === 'ok') return { ...none, label, superblock: found.superblock, failure: null };
    const why = found.state === 'none' ? 'there is none of ggmirror' : found.why;
    return { ...none, label, failure: `Can't read a private area on ${area ?? provider}: ${why}.` };
  } catch (error) {
    const what = label === null ? `metadata from ${provider}` : `a private area on ${area ?? provider}`;
    return { ...none, label, failure: `Can't read ${what}: ${reasonOf(error)}.` };
  }
}

/** Null for a label whose MD5 is wrong. */
function labelOf(sector: Buffer): DecodedLabel | null {
  try {
    return decodeLabel(sector);
  } catch (error) {
    if (error instanceof ProtocolError && error.code === 'PROTOCOL_FORMAT') return null;
    throw error;
  }
}

function print({ provider, label, superblock, failure }: Dumped): void {
  if (label !== null) writeQuietly(process.stdout, formatLabelDump(provider, label));
  if (superblock !== null) writeQuietly(process.stdout, formatSuperblock(provider, superblock));
  if (failure !== null) process.stderr.write(`${failure}\n`);
}

function asJson({ provider, label, superblock, failure }: Dumped): object {
  if (label === null) return { provider, failure };
  const { mirrorFlags, diskFlags, name, hardcodedProvider, balance, ...rest } = label;
  return {
    provider,
    label: {
      name: displayText(name),
      ...rest,
      balance: balanceName(balance),
      mirrorFlags: mirrorFlagWords(mirrorFlags),
      diskFlags: diskFlagWords(diskFlags),
      hardcodedProvider: displayText(hardcodedProvider),
    },
    ...(superblock === null ? {} : { area: superblockAsJson(superblock) }),
    ...(failure === null ? {} : { failure }),
  };
}
