import { Command } from 'commander';
import { absoluteComponent, formatComponent, componentName } from '../../control/component-spec.js';
import type { ControlRequest } from '../../control/commands/all.js';
import { ControlError } from '../../control/control-error.js';
import { STOP_MS } from '../../control/limits.js';
import type { NotErased } from '../../mirror/members/membership.js';
import { CommandError } from '../errors.js';
import { addRunDirOption, ask, type RunDirFlags } from '../mirrors/run-dir.js';
import { requireYes } from '../question.js';
import { printResult, writeQuietly } from '../output.js';
import { RUNNING_COMPONENT_HELP } from '../component-help.js';
import { parseInteger } from '../units.js';

interface InsertFlags extends RunDirFlags {
  readonly hardcode?: boolean;
  readonly inactive?: boolean;
  readonly priority: number;
  readonly force?: boolean;
}

/** `ggmirror insert`: providers become components of a running mirror, and everything is copied to them. */
export function insertCommand(): Command {
  const command = new Command('insert')
    .description('add components to a running mirror; everything on them is overwritten')
    .argument('<name>', 'the mirror')
    .argument('<provider...>', RUNNING_COMPONENT_HELP)
    // -h is gmirror's here.
    .helpOption('--help', 'display help for command')
    .option('-h, --hardcode', "store the disk's name in the label; a kernel takes it under no other")
    .option('-i, --inactive', 'do not use it until it is activated')
    .option('-p, --priority <number>', 'higher is preferred for reads, 0 to 255', parseInteger(0, 255), 0)
    .option('--force', 'also over what looks used; without it a person at a terminal is asked');
  return addRunDirOption(command).action(async (name: string, texts: string[], flags: InsertFlags) => {
    for (const text of texts) {
      const spec = absoluteComponent(text);
      const insert = (isForced: boolean): Promise<unknown> => {
        const request = {
          command: 'insert',
          provider: formatComponent(spec),
          priority: spec.priority ?? flags.priority,
          isInactive: flags.inactive === true,
          isHardcoded: flags.hardcode === true,
          isForced,
        } as const;
        return ask(name, request, flags, STOP_MS);
      };
      try {
        await insert(flags.force === true);
      } catch (error) {
        const isForceWanted = error instanceof CommandError && isWantingForce(error);
        if (!isForceWanted) throw error;
        const [what = ''] = error.message.split(';');
        const loss = `${what}; all of ${spec.provider} is overwritten with what mirror/${name} has.`;
        await requireYes({ says: [loss], refusal: error.message });
        await insert(true);
      }
    }
  });
}

const isWantingForce = ({ cause }: CommandError): boolean =>
  cause instanceof ControlError && cause.isForceWanted;

/** `ggmirror remove`: components go for good. */
export const removeCommand = (): Command =>
  forEachComponent('remove', 'take components out of a running mirror for good, and wipe their labels');

/** `ggmirror deactivate`: components are left out until they are activated. */
export const deactivateCommand = (): Command =>
  forEachComponent('deactivate', 'take components out of use; what they miss is remembered');

/** `ggmirror activate`: what a deactivated component has missed is copied to it. */
export const activateCommand = (): Command =>
  forEachComponent('activate', 'use deactivated components again; what they missed is copied', (provider) => {
    writeQuietly(process.stdout, `Provider ${provider} activated.\n`);
  });

function forEachComponent(
  word: 'remove' | 'deactivate' | 'activate',
  description: string,
  done: (provider: string) => void = () => undefined,
): Command {
  const command = new Command(word)
    .description(description)
    .argument('<name>', 'the mirror')
    .argument('<component...>', 'as they were given to start')
    .option('-v, --verbose', 'say what was done');
  return addRunDirOption(command).action(
    async (name: string, components: string[], flags: RunDirFlags & { readonly verbose?: boolean }) => {
      for (const component of components) {
        const request: ControlRequest = { command: word, component: componentName(component) };
        await ask(name, request, flags, STOP_MS);
        if (flags.verbose === true) done(component);
      }
    },
  );
}

/** `ggmirror forget`: what is missing is no component any more. */
export function forgetCommand(): Command {
  const command = new Command('forget')
    .description('let a running mirror forget the components that are not connected')
    .argument('<name...>')
    .option('--json', 'print who was forgotten as JSON');
  return addRunDirOption(command).action(
    async (names: string[], flags: RunDirFlags & { readonly json?: boolean }) => {
      const forgotten: Record<string, unknown> = {};
      for (const name of names) forgotten[name] = await ask(name, { command: 'forget' }, flags, STOP_MS);
      printResult(flags.json === true, forgotten, () => []);
    },
  );
}

/** `ggmirror destroy`: ends a mirror and wipes labels and private areas; the data stays. */
export function destroyCommand(): Command {
  const command = new Command('destroy')
    .description('end a running mirror and wipe the labels of its components; their data stays')
    .argument('<name>')
    .option('-f, --force', 'also if clients are connected');
  return addRunDirOption(command).action(
    async (name: string, flags: RunDirFlags & { readonly force?: boolean }) => {
      const request = { command: 'destroy', isForced: flags.force === true } as const;
      const left = (await ask(name, request, flags, STOP_MS)) as readonly NotErased[];
      if (left.length === 0) return;
      const which = left.map((one) => `${one.name} (${one.why})`).join(', ');
      throw new CommandError(
        `Not fully done. The mirror has ended, but these still have their labels: ${which}`,
      );
    },
  );
}
