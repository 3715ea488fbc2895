import { STOP_MS } from '../../control/limits.js';
import { attachedText } from '../attach/attachment.js';
import { CommandError } from '../errors.js';
import { attachmentsOf } from './attached.js';
import { ask, type RunDirFlags } from './run-dir.js';

export interface StopFlags extends RunDirFlags {
  /** Also if clients are connected. */
  readonly force?: boolean;
}

/** Ends a running mirror; everything is flushed and its labels are clean when this resolves. Throws CommandError. */
export async function stopMirror(name: string, flags: StopFlags): Promise<void> {
  const isForced = flags.force === true;
  try {
    await ask(name, { command: 'stop', isForced }, flags, STOP_MS);
  } catch (error) {
    if (isForced || !(error instanceof CommandError)) throw error;
    throw await sayAttached(name, flags, error);
  }
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
