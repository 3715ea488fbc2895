import { Command } from 'commander';
import { addRunDirOption } from '../mirrors/run-dir.js';
import { stopMirror, type StopFlags } from '../mirrors/stop-mirror.js';

/** `ggmirror stop`: ends a running mirror; everything is flushed and its labels are clean when this returns. */
export function stopCommand(): Command {
  const command = new Command('stop')
    .description('end a running mirror')
    .argument('<name>')
    .option('-f, --force', 'also if clients are connected; their requests under way are finished');
  return addRunDirOption(command).action(async (name: string, flags: StopFlags) => {
    await stopMirror(name, flags);
  });
}
