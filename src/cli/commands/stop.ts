import { Command } from 'commander';
import { STOP_MS } from '../../control/limits.js';
import { attachedText } from '../attach/attachments.js';
import { CommandError } from '../errors.js';
import { attachmentsOf } from '../mirrors/attached.js';
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
    const isForced = flags.force === true;
    try {
      await ask(name, { command: 'stop', isForced }, flags, STOP_MS);
    } catch (error) {
      if (isForced || !(error instanceof CommandError)) throw error;
      throw await sayAttached(name, flags, error);
    }
  });
}

/** The daemon only knows that it has clients. */
async function sayAttached(
  name: string,
  { runDir }: RunDirFlags,
  error: CommandError,
): Promise<CommandError> {
  const attachment = await attachmentsOf(name, runDir).find();
  if (attachment === null) return error;
  const text = `mirror/${name} ${attachedText(attachment)}; detach it first (ggmirror detach ${name})`;
  return new CommandError(text, { cause: error });
}
