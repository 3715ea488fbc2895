import { Command } from 'commander';
import { CommandError } from '../errors.js';
import { writeQuietly } from '../output.js';
import { clearLabelSector, reasonOf } from '../provider-labels.js';
import { addRemoteOptions, tlsOf, type RemoteFlags } from '../remote-options.js';

interface ClearFlags extends RemoteFlags {
  readonly verbose?: boolean;
}

/** `ggmirror clear`: takes the mirror's label off, so that nobody takes the provider for a component any more. */
export function clearCommand(): Command {
  const command = new Command('clear')
    .description("remove the mirror's label from images, disks or exports; their data stays")
    .argument('<provider...>', 'ggate://host[:port]/path (ggates:// for TLS), an image file or a disk')
    .option('-v, --verbose', 'say what was done');
  return addRemoteOptions(command).action(async (providers: readonly string[], flags: ClearFlags) => {
    const tls = tlsOf(flags);
    const say = (text: string): void => {
      if (flags.verbose === true) writeQuietly(process.stdout, `${text}\n`);
    };
    let failures = 0;
    for (const provider of providers) {
      try {
        await clearLabelSector(provider, tls);
        say(`Metadata cleared on ${provider}.`);
      } catch (error) {
        process.stderr.write(`Can't clear metadata on ${provider}: ${reasonOf(error)}.\n`);
        failures += 1;
      }
    }
    if (failures > 0) throw new CommandError('Not fully done.');
    say('Done.');
  });
}
