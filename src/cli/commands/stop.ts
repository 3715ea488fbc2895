import { Command } from 'commander';
import { STOP_MS } from '../../control/limits.js';
import { addRunDirOption, ask, type RunDirFlags } from '../mirrors/run-dir.js';

interface StopFlags extends RunDirFlags {
  readonly force?: boolean;
}

/** `ggmirror stop`: ends a running mirror; everything is flushed and its labels are clean when this returns. */
export function stopCommand(): Command {
  const command = new Command('stop')
    .description('end a running mirror')
    .argument('<name>')
    .option('-f, --force', 'also if clients are connected; their requests under way are finished');
  return addRunDirOption(command).action(async (name: string, flags: StopFlags) => {
    await ask(name, { command: 'stop', isForced: flags.force === true }, flags, STOP_MS);
  });
}
