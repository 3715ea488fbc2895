import { Command } from 'commander';
import type { ClientTls } from '../../client/options.js';
import type { BlockDevice } from '../../device/block-device.js';
import { FileDevice } from '../../device/file-device.js';
import { systemRandom } from '../../device/random.js';
import { describeUse } from '../../device/usage.js';
import {
  BALANCE_ALGORITHMS,
  defaultBalance,
  parseBalance,
  type BalanceAlgorithm,
} from '../../mirror/balance.js';
import { createMirror, geometryOf, nameProblem } from '../../mirror/create.js';
import { SLOT_COUNT } from '../../protocol/superblock.js';
import { CommandError, UsageError } from '../errors.js';
import { openDevice, type OpenedDevice } from '../open-device.js';
import { writeQuietly } from '../output.js';
import { pathOf, requireUnused } from '../provider-labels.js';
import { addRemoteOptions, tlsOf, type RemoteFlags } from '../remote-options.js';

interface LabelFlags extends RemoteFlags {
  readonly verbose?: boolean;
  readonly balance?: BalanceAlgorithm;
  readonly slice: number;
  /** Commander takes --no-x for the opposite of an option x. */
  readonly failSync?: boolean;
  readonly autoSync?: boolean;
  readonly force?: boolean;
}

interface Provider extends OpenedDevice {
  /** As it was given. */
  readonly text: string;
}

const SLICE_BYTES = 4096;

/** `ggmirror label`: makes providers the components of a new mirror, as `gmirror label` does. */
export function labelCommand(): Command {
  const command = new Command('label')
    .description('make a new mirror of images, disks or exports; the first one is the source of all data')
    .argument('<name>', 'of the mirror, at most 15 bytes')
    .argument('<provider...>', 'ggate://host[:port]/path (ggates:// for TLS), an image file or a disk')
    .option('-v, --verbose', 'say what was done')
    .option('-b, --balance <algorithm>', `who answers reads: ${BALANCE_ALGORITHMS.join(', ')}`, balanceOf)
    .option(
      '-s, --slice <bytes>',
      'with balance split, reads up to this length stay whole',
      sliceOf,
      SLICE_BYTES,
    )
    .option('-F, --no-fail-sync', 'the kernel does not synchronize after a power failure')
    .option('-n, --no-auto-sync', 'components that come back are not synchronized by themselves')
    .option('--force', 'also over what looks used');
  return addRemoteOptions(command).action(
    async (name: string, texts: readonly string[], flags: LabelFlags) => {
      const problem = nameProblem(name);
      if (problem !== null) throw new UsageError(`the mirror's name '${name}' ${problem}`);
      if (texts.length > SLOT_COUNT) throw new UsageError(`a mirror has ${SLOT_COUNT} components at most`);
      const providers: Provider[] = [];
      try {
        for (const text of texts) providers.push(await open(text, tlsOf(flags)));
        await checkAll(providers, flags.force === true);
        await label(name, providers, flags);
      } finally {
        await Promise.allSettled(providers.map(({ device }) => device.close()));
      }
      say(flags, 'Done.');
    },
  );
}

async function open(text: string, tls: ClientTls): Promise<Provider> {
  const options = { access: 'rw', tls, giveUpMs: 0, flushProbe: 'once' } as const;
  return { text, ...(await openDevice(pathOf(text), options)) };
}

/** Nothing is written before every provider has been looked at. */
async function checkAll(providers: readonly Provider[], isForced: boolean): Promise<void> {
  const identities = new Map<string, string>();
  for (const { text, device, localPath } of providers) {
    const identity = device instanceof FileDevice ? device.media.identity : `${text} `;
    const twin = identities.get(identity);
    if (twin !== undefined) throw new CommandError(`${text} and ${twin} are the same provider`);
    identities.set(identity, text);
    if (!device.can.write) throw new CommandError(`${text} can't be written`);
    await requireUnused({ device, localPath });
  }
  geometryOf(providers.map(({ device }) => device));
  if (isForced) return;
  for (const { text, device, localPath } of providers) {
    const use = await describeUse(device, localPath ?? undefined);
    if (use === null) continue;
    throw new CommandError(`${text} ${use}; nothing was written. To label it all the same, give --force`);
  }
}

function label(name: string, providers: readonly Provider[], flags: LabelFlags): Promise<void> {
  const textOf = new Map<BlockDevice, string>(providers.map(({ device, text }) => [device, text]));
  return createMirror({
    name,
    devices: providers.map(({ device }) => device),
    balance:
      flags.balance ?? defaultBalance(providers.map(({ localPath }) => ({ isLocal: localPath !== null }))),
    sliceBytes: flags.slice,
    noFailSync: flags.failSync === false,
    noAutoSync: flags.autoSync === false,
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

function sliceOf(text: string): number {
  const bytes = Number(text);
  if (/^[1-9]\d*$/.test(text) && bytes % 512 === 0 && bytes < 2 ** 32) return bytes;
  throw new UsageError(`'${text}' is no slice; give a number of bytes, a multiple of 512 below 2^32`);
}
