import { Command, Option } from 'commander';
import { componentName } from '../../control/component-spec.js';
import type { ControlRequest } from '../../control/commands/all.js';
import { STOP_MS } from '../../control/limits.js';
import { BALANCE_ALGORITHMS, type BalanceAlgorithm } from '../../mirror/balance.js';
import { UsageError } from '../errors.js';
import { SLICE } from '../mirrors/option-kinds.js';
import { addRunDirOption, ask, type RunDirFlags } from '../mirrors/run-dir.js';
import { writeQuietly } from '../output.js';
import { parseInteger } from '../units.js';

interface ConfigureFlags extends RunDirFlags {
  readonly autosync?: boolean;
  readonly noautosync?: boolean;
  readonly failsync?: boolean;
  readonly nofailsync?: boolean;
  readonly hardcode?: boolean;
  readonly dynamic?: boolean;
  readonly balance?: BalanceAlgorithm;
  readonly slice?: number;
  readonly priority?: number;
  readonly verbose?: boolean;
}

const EXAMPLES = `
Examples:
  ggmirror configure -b prefer sites
      reads go to the component of the highest priority
  ggmirror configure -p 10 sites /root/images/sites.img
      that is this one from now on
  ggmirror configure -n sites
      components that come back wait for 'ggmirror rebuild', or for 'ggmirror configure -a sites'`;

/** `ggmirror configure`: changes what the labels of a running mirror say; it holds from now on, and at later starts. */
export function configureCommand(): Command {
  const command = new Command('configure')
    .description('change the settings of a running mirror, for now and for later starts')
    .argument('<name>', 'the mirror')
    .argument('[component]', 'with -p: whose priority')
    // -h is gmirror's here.
    .helpOption('--help', 'display help for command')
    .option('-a, --autosync', 'bring components that come back up to date by itself')
    .option('-n, --noautosync', 'let them wait for a person')
    .option('-f, --failsync', 'the kernel synchronizes after a power failure')
    .option('-F, --nofailsync', 'it does not')
    .option('-h, --hardcode', "store the disks' names in the labels; a kernel takes them under no others")
    .option('-d, --dynamic', 'store no names')
    .addOption(
      new Option(
        '-b, --balance <algorithm>',
        'who answers reads; prefer is prefer-local for a mirror of local and remote components',
      ).choices(BALANCE_ALGORITHMS),
    )
    .option('-s, --slice <bytes>', 'with balance split, reads up to this length stay whole', (text) =>
      SLICE.parse(text, 'command line'),
    )
    .option(
      '-p, --priority <number>',
      'of one component: higher is preferred, 0 to 255',
      parseInteger(0, 255),
    )
    .option('-v, --verbose', 'say when it is done')
    .addHelpText('after', EXAMPLES);
  return addRunDirOption(command).action(
    async (name: string, component: string | undefined, flags: ConfigureFlags) => {
      await ask(name, requestOf(component, flags), flags, STOP_MS);
      if (flags.verbose === true) writeQuietly(process.stdout, 'Done.\n');
    },
  );
}

function requestOf(component: string | undefined, flags: ConfigureFlags): ControlRequest {
  const { balance, slice, priority } = flags;
  const change = {
    ...(balance === undefined ? {} : { balance }),
    ...(slice === undefined ? {} : { sliceBytes: slice }),
    ...oppositesOf('noAutoSync', flags, { isFalse: 'autosync', isTrue: 'noautosync' }),
    ...oppositesOf('noFailSync', flags, { isFalse: 'failsync', isTrue: 'nofailsync' }),
    ...oppositesOf('isHardcoded', flags, { isTrue: 'hardcode', isFalse: 'dynamic' }),
  };
  const isEmpty = Object.keys(change).length === 0;
  if (priority === undefined) {
    if (component !== undefined) throw new UsageError('a component is only named with -p');
    if (isEmpty)
      throw new UsageError('nothing to change; give at least one of -a, -n, -f, -F, -h, -d, -b, -s, -p');
    return { command: 'configure', ...change };
  }
  if (component === undefined) throw new UsageError('Priority needs a disk name');
  if (!isEmpty) throw new UsageError('only -p accepted when setting priority');
  return { command: 'priority', component: componentName(component), priority };
}

/** What two opposite flags say of a setting; nothing if neither is given. Named in the order in which gmirror does. */
function oppositesOf<Name extends string>(
  setting: Name,
  flags: ConfigureFlags,
  names: Readonly<Record<'isTrue' | 'isFalse', keyof ConfigureFlags>>,
): Partial<Record<Name, boolean>> {
  const given = Object.values(names).filter((name) => flags[name] === true);
  if (given.length === 2) throw new UsageError(`'${given.join("' and '")}' specified.`);
  return given.length === 0 ? {} : ({ [setting]: flags[names.isTrue] === true } as Record<Name, boolean>);
}
