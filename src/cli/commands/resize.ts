import { Command, InvalidArgumentError } from 'commander';
import { STOP_MS } from '../../control/limits.js';
import { providerOpener } from '../../control/provider-openers.js';
import { systemClock } from '../../device/clock.js';
import { systemRandom } from '../../device/random.js';
import { AssembleError } from '../../mirror/start/assembled.js';
import { resizeMirror, type Resized, type ResizeOptions } from '../../mirror/start/resize.js';
import { ResizeError } from '../../mirror/start/resize-error.js';
import { defaultConfigPath } from '../config/config-file.js';
import { CommandError, UsageError } from '../errors.js';
import { addRunDirOption, ask, isRunning, type RunDirFlags } from '../mirrors/run-dir.js';
import type { MirrorSettings } from '../mirrors/settings.js';
import { readSettingsFiles } from '../mirrors/settings-files.js';
import { givenOptions } from '../mirrors/start-options.js';
import { wantedSettings } from '../config/wanted-settings.js';
import { printResult } from '../output.js';
import { Progress } from '../progress.js';
import { addRemoteOptions } from '../remote-options.js';
import { COMPONENT_HELP } from '../component-help.js';
import { formatBytes, parseSize } from '../units.js';

type WantedSize = NonNullable<ResizeOptions['size']>;

interface ResizeFlags extends RunDirFlags {
  readonly config?: string;
  readonly size?: WantedSize;
  readonly json?: boolean;
}

const EXAMPLES = `
That an image grew changes its time, so it can't be seen any more whether somebody wrote to it while the mirror was
stopped; 'ggmirror verify' tells.

Examples:
  truncate -s +1G /root/images/sites.img      and the same on the other machine
  ggmirror resize sites
      while the mirror is in use: all its components have to be ACTIVE, requests wait for a moment, and clients see the
      new size when they connect anew
  ggmirror resize sites /root/images/sites.img ggate://192.168.1.101/root/images/sites.img
      when it does not run`;

/** `ggmirror resize`: gives a mirror what its components have grown by. */
export function resizeCommand(): Command {
  const command = new Command('resize')
    .description('make a mirror larger, in use or not, when all of its components have grown')
    .argument('<name>', 'the name that it was labelled with')
    .argument(
      '[provider...]',
      `of one that does not run, its components: ${COMPONENT_HELP}; left out: those of the configuration file`,
    )
    .option(
      '-s, --size <size>',
      'sectors, or bytes with a suffix such as 512M or 1G; left out: all that they have room for',
      sizeOf,
    )
    .option('--config <file>', `the configuration file (default: ${defaultConfigPath(process.platform)})`)
    .option('--json', 'print the sizes as JSON')
    .addHelpText('after', EXAMPLES);
  return addRunDirOption(addRemoteOptions(command)).action(
    async (name: string, providers: string[], flags: ResizeFlags) => {
      const resized = await resizeAny(command, name, providers, flags);
      printResult(flags.json === true, resized, () => [
        `mirror/${name} has ${resized.nowBytes} bytes (${formatBytes(resized.nowBytes)}), before that ${resized.beforeBytes}`,
      ]);
    },
  );
}

async function resizeAny(
  command: Command,
  name: string,
  providers: readonly string[],
  flags: ResizeFlags,
): Promise<Resized> {
  const size = flags.size ?? null;
  if (await isRunning(name, flags)) {
    if (providers.length > 0)
      throw new UsageError(`mirror/${name} runs, and knows its components; leave them out`);
    return (await ask(name, { command: 'resize', size }, flags, STOP_MS)) as Resized;
  }
  const given = givenOptions(command);
  const [settings] = wantedSettings({ name, providers, config: flags.config, given });
  if (settings === undefined) throw new UsageError(`no components of ${name} are known; name them`);
  return await resizeStopped(settings, size);
}

async function resizeStopped(settings: MirrorSettings, size: WantedSize | null): Promise<Resized> {
  const { name, components, timeoutMs } = settings;
  const { remoteTls: tls } = await readSettingsFiles(settings);
  const providers = components.map((one) => providerOpener(one, { timeoutMs, tls, clock: systemClock }));
  const shown: Progress[] = [];
  const progress = {
    begun: (totalBytes: number): void => {
      shown.push(new Progress({ clock: systemClock, stream: process.stderr, label: 'zero', totalBytes }));
    },
    zeroed: (bytes: number): void => shown[0]?.advance(bytes),
  };
  try {
    return await resizeMirror({ name, providers, size, random: systemRandom, progress });
  } catch (error) {
    if (error instanceof ResizeError || error instanceof AssembleError) {
      throw new CommandError(error.message, { cause: error });
    }
    throw error;
  } finally {
    shown[0]?.finish(false);
  }
}

/** gmirror takes a number without a suffix for sectors. */
function sizeOf(text: string): WantedSize {
  const unit = /^\d+$/.test(text) ? 'sectors' : 'bytes';
  const count = parseSize(text);
  if (count > 0) return { count, unit };
  throw new InvalidArgumentError('expected a size greater than 0');
}
