import { Command } from 'commander';
import { parseComponent } from '../../control/component-spec.js';
import { removeAreaFile } from '../../mirror/area/area-file.js';
import { CommandError } from '../errors.js';
import { writeQuietly } from '../output.js';
import { COMPONENT_HELP } from '../component-help.js';
import { clearLabelSector, reasonOf } from '../provider-labels.js';
import { addRemoteOptions, tlsOf, type RemoteFlags } from '../remote-options.js';

interface ClearFlags extends RemoteFlags {
  readonly verbose?: boolean;
}

const EXAMPLES = `
Examples:
  ggmirror clear -v /root/images/sites.img
      while the mirror is stopped; of one that runs, 'ggmirror remove' takes a component out`;

/** `ggmirror clear`: takes the mirror's label off, so that nobody takes the provider for a component any more. */
export function clearCommand(): Command {
  const command = new Command('clear')
    .description("remove the mirror's label, and the area file if one is named; the data stays")
    .argument('<provider...>', COMPONENT_HELP)
    .option('-v, --verbose', 'say what was done')
    .addHelpText('after', EXAMPLES);
  return addRemoteOptions(command).action(async (providers: readonly string[], flags: ClearFlags) => {
    const tls = tlsOf(flags);
    const say = (text: string): void => {
      if (flags.verbose === true) writeQuietly(process.stdout, `${text}\n`);
    };
    let failures = 0;
    for (const { provider, area } of providers.map(parseComponent)) {
      try {
        await clearLabelSector(provider, tls);
        if (area !== null) await removeAreaFile(area);
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
