import { NotRunningError } from '../../control/control-client.js';
import { STOP_MS } from '../../control/limits.js';
import { attachedText } from '../attach/attachment.js';
import { CommandError } from '../errors.js';
import { writeQuietly } from '../output.js';
import { attachmentsOf } from './attached.js';
import { ask, askStatus, type RunDirFlags } from './run-dir.js';

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
  if (isForced) await warnOfDevice(name, flags);
}

/** A file system on it may have writes that never got any further. */
async function warnOfDevice(name: string, { runDir }: RunDirFlags): Promise<void> {
  const attachment = await attachmentsOf(name, runDir).find(null);
  if (attachment === null) return;
  const text = `mirror/${name} has stopped, but ${attachedText(attachment)}; remove that with 'ggmirror detach ${name}'`;
  writeQuietly(process.stderr, `ggmirror: ${text}\n`);
}

/** The daemon only knows that it has clients. */
async function sayAttached(
  name: string,
  { runDir }: RunDirFlags,
  error: CommandError,
): Promise<CommandError> {
  if (error.cause instanceof NotRunningError) return error;
  const { pid } = await askStatus(name, { runDir });
  const attachment = await attachmentsOf(name, runDir).find(pid);
  if (attachment === null) return error;
  const text = `mirror/${name} ${attachedText(attachment)}; detach it first (ggmirror detach ${name})`;
  return new CommandError(text, { cause: error });
}
