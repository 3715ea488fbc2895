import { Command } from 'commander';
import type { RebuildAnswer } from '../../control/commands/rebuild.js';
import type { ComponentStatus, MirrorStatus } from '../../control/status.js';
import { writeQuietly } from '../output.js';
import { componentsToTouch } from '../mirrors/check-first.js';
import { addRunDirOption, ask, type RunDirFlags } from '../mirrors/run-dir.js';
import {
  addWaitOptions,
  componentOf,
  limitMsOf,
  waitUntilActive,
  type WaitFlags,
} from '../mirrors/wait-active.js';

interface RebuildFlags extends RunDirFlags, WaitFlags {}

const EXAMPLES = `
Examples:
  ggmirror rebuild sites ggate://192.168.1.101/root/images/sites.img
      when what it holds is not believed any more, though the mirror knows of no difference
  ggmirror rebuild --wait sites /root/images/sites.img
      the same, and it returns when that is done`;

/** `ggmirror rebuild`: copies everything anew to components that are not believed any more. */
export function rebuildCommand(): Command {
  const command = new Command('rebuild')
    .description('copy everything anew to components of a running mirror')
    .argument('<name>', 'the mirror')
    .argument('<component...>', 'as they were given to start');
  addWaitOptions(
    command,
    'show the progress, and return when they are ACTIVE; exit status 1 if they do not become so',
  ).addHelpText('after', EXAMPLES);
  return addRunDirOption(command).action(async (name: string, texts: string[], flags: RebuildFlags) => {
    const limitMs = limitMsOf(flags);
    const components = await componentsToTouch(name, texts, flags, { isOneKept: true });
    for (const component of components) {
      const { isThere } = (await ask(name, { command: 'rebuild', component }, flags)) as RebuildAnswer;
      if (!isThere)
        writeQuietly(
          process.stdout,
          `${component} is not connected; everything is copied to it when it is\n`,
        );
    }
    if (flags.wait !== true) return;
    const wanted = (status: MirrorStatus): readonly ComponentStatus[] =>
      components.map((component) => componentOf(status, component));
    await waitUntilActive({ name, flags, label: 'rebuild', wanted, limitMs });
  });
}
