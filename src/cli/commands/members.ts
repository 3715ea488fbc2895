import { Command } from 'commander';
import { absoluteComponent, formatComponent } from '../../control/component-spec.js';
import type { ControlRequest } from '../../control/commands/all.js';
import { ControlError } from '../../control/control-error.js';
import { STOP_MS } from '../../control/limits.js';
import type { ComponentStatus, MirrorStatus } from '../../control/status.js';
import { CommandError, UsageError } from '../errors.js';
import { componentsToTouch, requireOnce } from '../mirrors/check-first.js';
import { addRunDirOption, ask, askStatus, type RunDirFlags } from '../mirrors/run-dir.js';
import {
  addWaitOptions,
  componentOf,
  limitMsOf,
  waitUntilActive,
  type WaitFlags,
} from '../mirrors/wait-active.js';
import { requireYes } from '../question.js';
import { printResult, writeQuietly } from '../output.js';
import { RUNNING_COMPONENT_HELP } from '../component-help.js';
import { parseInteger } from '../units.js';

interface InsertFlags extends RunDirFlags, WaitFlags {
  readonly hardcode?: boolean;
  readonly inactive?: boolean;
  readonly priority: number;
  readonly force?: boolean;
}

const INSERT_EXAMPLES = `
Examples:
  ggmirror insert sites ggate://192.168.1.102/root/images/sites.img
  ggmirror insert --wait sites /root/images/new.img
      returns when everything is copied to it; then the old one may be removed`;

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
    .option('--force', 'also over what looks used; without it a person at a terminal is asked')
    .addHelpText('after', INSERT_EXAMPLES);
  addWaitOptions(
    command,
    'show the progress, and return when they are ACTIVE; exit status 1 if they do not become so',
  );
  return addRunDirOption(command).action(async (name: string, texts: string[], flags: InsertFlags) => {
    const limitMs = limitMsOf(flags);
    if (flags.wait === true && flags.inactive === true)
      throw new UsageError('--wait does not go with --inactive: nothing is copied to it');
    const specs = texts.map(absoluteComponent);
    requireOnce(specs.map(({ provider }) => provider));
    for (const spec of specs) {
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
    if (flags.wait !== true) return;
    const wanted = (status: MirrorStatus): readonly ComponentStatus[] =>
      specs.map(({ provider }) => componentOf(status, provider));
    await waitUntilActive({ name, flags, label: 'insert', wanted, limitMs });
  });
}

const isWantingForce = ({ cause }: CommandError): boolean =>
  cause instanceof ControlError && cause.isForceWanted;

/** `ggmirror remove`: components go for good. */
export const removeCommand = (): Command =>
  forEachComponent('remove', {
    description: 'take components out of a running mirror for good, and wipe their labels',
    example: `ggmirror remove sites /root/images/old.img
      its data stays as it is; of several, none goes if one of them can't`,
  });

/** `ggmirror deactivate`: components are left out until they are activated. */
export const deactivateCommand = (): Command =>
  forEachComponent('deactivate', {
    description: 'take components out of use; what they miss is remembered',
    example: `ggmirror deactivate sites ggate://192.168.1.101/root/images/sites.img
      before work on that machine, or to keep a copy of the data as it is now`,
  });

/** `ggmirror activate`: what a deactivated component has missed is copied to it. */
export const activateCommand = (): Command =>
  forEachComponent('activate', {
    description: 'use deactivated components again; what they missed is copied',
    example: 'ggmirror activate -v sites ggate://192.168.1.101/root/images/sites.img',
    done: (provider) => writeQuietly(process.stdout, `Provider ${provider} activated.\n`),
  });

function forEachComponent(
  word: 'remove' | 'deactivate' | 'activate',
  {
    description,
    example,
    done = () => undefined,
  }: {
    readonly description: string;
    readonly example: string;
    readonly done?: (provider: string) => void;
  },
): Command {
  const command = new Command(word)
    .description(description)
    .argument('<name>', 'the mirror')
    .argument('<component...>', 'as they were given to start')
    .option('-v, --verbose', 'say what was done')
    .addHelpText('after', `\nExamples:\n  ${example}`);
  return addRunDirOption(command).action(
    async (name: string, components: string[], flags: RunDirFlags & { readonly verbose?: boolean }) => {
      const wanted = await componentsToTouch(name, components, flags, { isOneKept: word !== 'activate' });
      for (const [index, component] of wanted.entries()) {
        const request: ControlRequest = { command: word, component };
        await ask(name, request, flags, STOP_MS);
        if (flags.verbose === true) done(components[index] ?? component);
      }
    },
  );
}

const FORGET_EXAMPLES = `
Examples:
  ggmirror forget sites
      lets go of all that 'ggmirror status' shows as DISCONNECTED, also of what is only deactivated`;

/** `ggmirror forget`: what is missing is no component any more. */
export function forgetCommand(): Command {
  const command = new Command('forget')
    .description('let a running mirror forget the components that are not connected')
    .argument('<name...>')
    .option('--json', 'print who was forgotten as JSON')
    .addHelpText('after', FORGET_EXAMPLES);
  return addRunDirOption(command).action(
    async (names: string[], flags: RunDirFlags & { readonly json?: boolean }) => {
      // None is touched before all are known to run.
      if (names.length > 1) for (const name of names) await askStatus(name, flags);
      const forgotten: Record<string, unknown> = {};
      for (const name of names) forgotten[name] = await ask(name, { command: 'forget' }, flags, STOP_MS);
      printResult(flags.json === true, forgotten, () => []);
    },
  );
}
