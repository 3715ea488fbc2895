import { Command } from 'commander';
import { componentName } from '../../control/component-spec.js';
import type { RebuildAnswer } from '../../control/commands/rebuild.js';
import type { ComponentStatus, MirrorStatus } from '../../control/status.js';
import { CommandError } from '../errors.js';
import { writeQuietly } from '../output.js';
import { addRunDirOption, ask, type RunDirFlags } from '../mirrors/run-dir.js';
import { addWaitOptions, limitMsOf, waitUntilActive, type WaitFlags } from '../mirrors/wait-active.js';

interface RebuildFlags extends RunDirFlags, WaitFlags {}

/** `ggmirror rebuild`: copies everything anew to a component that is not believed any more. */
export function rebuildCommand(): Command {
  const command = new Command('rebuild')
    .description('copy everything anew to a component of a running mirror')
    .argument('<name>', 'the mirror')
    .argument('<component>', 'as it was given to start');
  addWaitOptions(
    command,
    'show the progress, and return when it is ACTIVE; exit status 1 if it does not become so',
  );
  return addRunDirOption(command).action(async (name: string, text: string, flags: RebuildFlags) => {
    const limitMs = limitMsOf(flags);
    const component = componentName(text);
    const { isThere } = (await ask(name, { command: 'rebuild', component }, flags)) as RebuildAnswer;
    if (!isThere)
      writeQuietly(process.stdout, `${component} is not connected; everything is copied to it when it is\n`);
    if (flags.wait !== true) return;
    const wanted = (status: MirrorStatus): readonly ComponentStatus[] => [componentOf(status, component)];
    await waitUntilActive({ name, flags, label: 'rebuild', wanted, limitMs });
  });
}

function componentOf({ name, components }: MirrorStatus, wanted: string): ComponentStatus {
  const found = components.find((one) => [one.name, one.uuid].includes(wanted));
  if (found !== undefined) return found;
  throw new CommandError(`mirror/${name} has no component ${wanted} any more`);
}
