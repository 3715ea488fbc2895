import { NotRunningError } from '../../control/control-client.js';
import { STOP_MS } from '../../control/limits.js';
import { requireUnused } from '../../control/running-mirror.js';
import { messageOf } from '../../protocol/errors.js';
import { attachedText } from '../attach/attachment.js';
import { CommandError } from '../errors.js';
import { writeQuietly } from '../output.js';
import { attachmentsOf } from './attached.js';
import { requireOnce } from './check-first.js';
import { ask, askStatus, type RunDirFlags } from './run-dir.js';

export interface EndFlags extends RunDirFlags {
  /** Also if clients are connected. */
  readonly force?: boolean;
}

/** `destroy` also wipes labels and private areas. */
type End = 'stop' | 'destroy';

/**
 * Ends running mirrors, one after another; everything is flushed and labels are clean, or gone, when it resolves. `ended`
 * gets each one's answer. Of several all are looked at before the first one ends. Throws CommandError.
 */
export async function endMirrors(
  names: readonly string[],
  end: End,
  flags: EndFlags,
  ended: (name: string, answer: unknown) => void = () => undefined,
): Promise<void> {
  if (names.length > 1) await checkAll(names, flags);
  for (const name of names) ended(name, await endMirror(name, end, flags));
}

/** As endMirrors(). */
export async function endMirror(name: string, end: End, flags: EndFlags): Promise<unknown> {
  const isForced = flags.force === true;
  try {
    const answer = await ask(name, { command: end, isForced }, flags, STOP_MS);
    if (isForced) await warnOfDevice(name, flags);
    return answer;
  } catch (error) {
    if (isForced || !(error instanceof CommandError)) throw error;
    throw await sayAttached(name, flags, error);
  }
}

/** That they run and, unless that is forced, that nobody uses them. */
async function checkAll(names: readonly string[], flags: EndFlags): Promise<void> {
  requireOnce(names);
  for (const name of names) {
    const { clients } = await askStatus(name, flags);
    if (flags.force === true) continue;
    try {
      requireUnused({ name, clientCount: clients }, 'nothing was done; let them go first, or add -f');
    } catch (error) {
      throw await sayAttached(name, flags, new CommandError(messageOf(error), { cause: error }));
    }
  }
}

/** A file system on it may have writes that never got any further. */
async function warnOfDevice(name: string, { runDir }: RunDirFlags): Promise<void> {
  const attachment = await attachmentsOf(name, runDir).find(null);
  if (attachment === null) return;
  const text = `mirror/${name} has ended, but ${attachedText(attachment)}; remove that with 'ggmirror detach ${name}'`;
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
