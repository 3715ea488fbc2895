import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { Command } from 'commander';
import type { ClientTls } from '../../client/options.js';
import { nameProblem } from '../../control/mirror-name.js';
import { type ComponentSpec, parseComponent } from '../../control/component-spec.js';
import type { BlockDevice } from '../../device/block-device.js';
import { probeMedia } from '../../device/media.js';
import { systemRandom } from '../../device/random.js';
import { requireUnused } from '../../device/in-use.js';
import { describeUse } from '../../device/usage.js';
import {
  BALANCE_ALGORITHMS,
  defaultBalance,
  parseBalance,
  type BalanceAlgorithm,
} from '../../mirror/balance.js';
import { createMirror, geometryOf } from '../../mirror/start/create.js';
import { kernelNameOf } from '../../mirror/members/hardcoded-name.js';
import { isGgateUri } from '../../protocol/uri.js';
import { SLOT_COUNT } from '../../protocol/superblock.js';
import { CommandError, UsageError } from '../errors.js';
import { SLICE } from '../mirrors/option-kinds.js';
import { openDevice, type OpenedDevice } from '../open-device.js';
import { writeQuietly } from '../output.js';
import { LABELLED_COMPONENT_HELP } from '../component-help.js';
import { pathOf } from '../provider-labels.js';
import { requireYes } from '../question.js';
import { addRemoteOptions, tlsOf, type RemoteFlags } from '../remote-options.js';

interface LabelFlags extends RemoteFlags {
  readonly verbose?: boolean;
  readonly balance?: BalanceAlgorithm;
  readonly slice: number;
  /** Commander takes --no-x for the opposite of an option x. */
  readonly failSync?: boolean;
  readonly autoSync?: boolean;
  readonly hardcode?: boolean;
  readonly force?: boolean;
}

interface Provider extends OpenedDevice {
  readonly spec: ComponentSpec;
}

const SLICE_BYTES = 4096;

const EXAMPLES = `
Examples:
  ggmirror label -v sites /root/images/sites.img ggate://192.168.1.101/root/images/sites.img
      a mirror of an image and an export, with what the image holds
  ggmirror label mail /dev/sdb,area=/var/db/mail.area ggate://192.168.1.101/dev/sdb
      of a disk that is full to its last sector: its private area is in a file`;

/** `ggmirror label`: makes providers the components of a new mirror, as `gmirror label` does. */
export function labelCommand(): Command {
  const command = new Command('label')
    .description('make a new mirror of images, disks or exports; the first one is the source of all data')
    .argument('<name>', 'of the mirror, at most 15 bytes')
    .argument('<provider...>', LABELLED_COMPONENT_HELP)
    // -h is gmirror's here.
    .helpOption('--help', 'display help for command')
    .option('-v, --verbose', 'say what was done')
    .option('-b, --balance <algorithm>', `who answers reads: ${BALANCE_ALGORITHMS.join(', ')}`, balanceOf)
    .option(
      '-s, --slice <bytes>',
      'with balance split, reads up to this length stay whole',
      (text) => SLICE.parse(text, 'command line'),
      SLICE_BYTES,
    )
    .option('-F, --no-fail-sync', 'the kernel does not synchronize after a power failure')
    .option('-n, --no-auto-sync', 'components that come back are not synchronized by themselves')
    .option('-h, --hardcode', "store the disks' names in the labels; a kernel takes them under no others")
    .option('--force', 'also over what looks used; without it a person at a terminal is asked')
    .addHelpText('after', EXAMPLES);
  return addRemoteOptions(command).action(
    async (name: string, texts: readonly string[], flags: LabelFlags) => {
      const problem = nameProblem(name);
      if (problem !== null) throw new UsageError(`the mirror's name '${name}' ${problem}`);
      if (texts.length > SLOT_COUNT) throw new UsageError(`a mirror has ${SLOT_COUNT} components at most`);
      const providers: Provider[] = [];
      try {
        const specs = texts.map(parseComponent);
        const hardcodedProviders = flags.hardcode === true ? specs.map(hardcodedNameOf) : [];
        await refuseTwins(specs);
        for (const spec of specs) providers.push(await open(spec, tlsOf(flags)));
        await checkAll(providers, flags.force === true);
        await label(name, providers, { ...flags, hardcodedProviders });
      } finally {
        await Promise.allSettled(providers.map(({ device }) => device.close()));
      }
      say(flags, 'Done.');
    },
  );
}

async function open(spec: ComponentSpec, tls: ClientTls): Promise<Provider> {
  const options = { access: 'rw', tls, giveUpMs: 0, flushProbe: 'once' } as const;
  return { spec, ...(await openDevice(pathOf(spec.provider), options)) };
}

/** Before any is opened: each is opened for us alone, so of two names for one image the second one would be busy. */
async function refuseTwins(specs: readonly ComponentSpec[]): Promise<void> {
  const identities = new Map<string, string>();
  const areas = new Set<string>();
  for (const { provider, area } of specs) {
    const identity = isGgateUri(provider) ? provider : (await probeMedia(pathOf(provider), 'rw')).identity;
    const twin = identities.get(identity);
    if (twin !== undefined) throw new CommandError(`${provider} and ${twin} are the same provider`);
    identities.set(identity, provider);
    if (area === null) continue;
    if (areas.has(resolve(area))) throw new CommandError(`${area} is given twice; an area file has one area`);
    if (existsSync(area))
      throw new CommandError(`${area} exists already; name an area file that is to be made`);
    areas.add(resolve(area));
  }
}

/** Nothing is written before every provider has been looked at. */
async function checkAll(providers: readonly Provider[], isForced: boolean): Promise<void> {
  for (const { spec, device, localPath } of providers) {
    if (!device.can.write) throw new CommandError(`${spec.provider} can't be written`);
    if (localPath !== null) await requireUnused(localPath, spec.provider);
  }
  const { devices, areaPaths } = placesOf(providers);
  geometryOf(devices, areaPaths);
  if (!isForced) await askForUsed(providers);
}

/** Once for all that look used. */
async function askForUsed(providers: readonly Provider[]): Promise<void> {
  const source = providers[0]?.spec.provider ?? '';
  const says: string[] = [];
  const refusals: string[] = [];
  for (const { spec, device, localPath } of providers) {
    const { provider, area } = spec;
    const use = await describeUse(device, localPath ?? undefined);
    if (use === null) continue;
    const end = area === null ? 'its last sectors are' : 'its last sector is';
    const loss =
      provider === source
        ? `the mirror takes its data over, and ${end} overwritten`
        : `all of it is overwritten with what ${source} has`;
    says.push(`${provider} ${use}; ${loss}.`);
    refusals.push(`${provider} ${use}; nothing was written. To label it all the same, give --force`);
  }
  const [refusal] = refusals;
  if (refusal !== undefined) await requireYes({ says, refusal });
}

const placesOf = (
  providers: readonly Provider[],
): { devices: readonly BlockDevice[]; areaPaths: readonly (string | null)[] } => ({
  devices: providers.map(({ device }) => device),
  areaPaths: providers.map(({ spec }) => spec.area),
});

function hardcodedNameOf({ provider }: ComponentSpec): string {
  const name = kernelNameOf(pathOf(provider));
  if (name !== null) return name;
  throw new CommandError(
    `${provider} has no name of at most 15 bytes that a kernel would know it by; leave out -h`,
  );
}

function label(
  name: string,
  providers: readonly Provider[],
  flags: LabelFlags & { readonly hardcodedProviders: readonly string[] },
): Promise<void> {
  const textOf = new Map<BlockDevice, string>(providers.map(({ device, spec }) => [device, spec.provider]));
  return createMirror({
    name,
    ...placesOf(providers),
    balance:
      flags.balance ?? defaultBalance(providers.map(({ localPath }) => ({ isLocal: localPath !== null }))),
    sliceBytes: flags.slice,
    noFailSync: flags.failSync === false,
    noAutoSync: flags.autoSync === false,
    hardcodedProviders: flags.hardcodedProviders,
    priorities: providers.map(({ spec }) => spec.priority),
    random: systemRandom,
    stored: (device) => say(flags, `Metadata value stored on ${textOf.get(device) ?? device.name}.`),
  });
}

function say({ verbose }: LabelFlags, text: string): void {
  if (verbose === true) writeQuietly(process.stdout, `${text}\n`);
}

function balanceOf(text: string): BalanceAlgorithm {
  const balance = parseBalance(text);
  if (balance !== null) return balance;
  throw new UsageError(`'${text}' is no balance algorithm; there are ${BALANCE_ALGORITHMS.join(', ')}`);
}
