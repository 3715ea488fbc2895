import { Command } from 'commander';
import { parseComponent } from '../../control/component-spec.js';
import type { ClientTls } from '../../client/options.js';
import { ProtocolError } from '../../protocol/errors.js';
import { diskFlagWords, formatLabelDump, mirrorFlagWords } from '../../protocol/gmirror-dump.js';
import { balanceName } from '../../protocol/gmirror-flags.js';
import { decodeLabel, displayText, type DecodedLabel } from '../../protocol/gmirror-label.js';
import { CommandError } from '../errors.js';
import { printResult, writeQuietly } from '../output.js';
import { COMPONENT_HELP } from '../component-help.js';
import { readLabelSector, reasonOf } from '../provider-labels.js';
import { addRemoteOptions, tlsOf, type RemoteFlags } from '../remote-options.js';

interface DumpFlags extends RemoteFlags {
  readonly json?: boolean;
}

/** What `dump --json` prints of each provider: its label, or why there is none to show. */
interface Dumped {
  readonly provider: string;
  readonly label: DecodedLabel | null;
  /** Without a line end; null if there is a label. */
  readonly failure: string | null;
}

const EXAMPLES = `
Examples:
  ggmirror dump /root/images/sites.img ggate://192.168.1.101/root/images/sites.img`;

/** `ggmirror dump`: the labels of a mirror's components, as `gmirror dump` prints them. Changes nothing. */
export function dumpCommand(): Command {
  const command = new Command('dump')
    .description("show the mirror's label at the end of images, disks or exports")
    .argument('<provider...>', COMPONENT_HELP)
    .option('--json', 'print everything as JSON')
    .addHelpText('after', EXAMPLES);
  return addRemoteOptions(command).action(async (providers: readonly string[], flags: DumpFlags) => {
    const tls = tlsOf(flags);
    const isJson = flags.json === true;
    const all: Dumped[] = [];
    for (const text of providers) {
      const dumped = await dump(parseComponent(text).provider, tls);
      all.push(dumped);
      if (!isJson) print(dumped);
    }
    printResult(isJson, all.map(asJson), () => []);
    if (all.some(({ failure }) => failure !== null)) throw new CommandError('Not fully done.');
  });
}

async function dump(provider: string, tls: ClientTls): Promise<Dumped> {
  try {
    const label = labelOf(await readLabelSector(provider, tls));
    return label === null
      ? { provider, label, failure: `MD5 hash mismatch for ${provider}, skipping.` }
      : { provider, label, failure: null };
  } catch (error) {
    return { provider, label: null, failure: `Can't read metadata from ${provider}: ${reasonOf(error)}.` };
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

function print({ provider, label, failure }: Dumped): void {
  if (label !== null) writeQuietly(process.stdout, formatLabelDump(provider, label));
  if (failure !== null) process.stderr.write(`${failure}\n`);
}

function asJson({ provider, label, failure }: Dumped): object {
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
  };
}
