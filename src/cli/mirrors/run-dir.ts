import { existsSync, readdirSync } from 'node:fs';
import { resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { askMirror, NotRunningError } from '../../control/control-client.js';
import type { ControlRequest } from '../../control/commands/all.js';
import { ControlError } from '../../control/control-error.js';
import { ANSWER_MS } from '../../control/limits.js';
import { defaultRunDirectory, mirrorOfControlFile, mirrorPaths } from '../../control/paths.js';
import type { MirrorStatus } from '../../control/status.js';
import { systemClock } from '../../device/clock.js';
import { CommandError } from '../errors.js';

export interface RunDirFlags {
  readonly runDir: string;
}

/** For every command that has to do with running mirrors. */
export const runDirOption = (): Option =>
  new Option('--run-dir <directory>', 'where running mirrors have their sockets')
    .env('GGMIRROR_RUN_DIR')
    .default(defaultRunDirectory(process.platform))
    .argParser((text) => resolve(text));

export const addRunDirOption = (command: Command): Command => command.addOption(runDirOption());

/** Asks a mirror that has to be running. Throws CommandError. */
export async function ask(
  name: string,
  request: ControlRequest,
  { runDir }: RunDirFlags,
  timeoutMs = ANSWER_MS,
): Promise<unknown> {
  const { control } = mirrorPaths(runDir, name);
  try {
    return await askMirror(control, request, { clock: systemClock, timeoutMs });
  } catch (error) {
    if (error instanceof NotRunningError) {
      // A daemon that was killed leaves its socket.
      const why = existsSync(control) ? 'it has died; start it again' : 'no such mirror runs';
      throw new CommandError(`No such geom: ${name}. (${why})`, { cause: error });
    }
    if (error instanceof ControlError) throw new CommandError(error.message, { cause: error });
    if ((error as NodeJS.ErrnoException).code === 'EACCES') {
      const message = `${control} may not be used by you; mirrors are for root and the group of ${runDir}`;
      throw new CommandError(message, { cause: error });
    }
    throw error;
  }
}

/** Whether a daemon listens, though it may be too busy to answer. */
export async function isRunning(name: string, flags: RunDirFlags): Promise<boolean> {
  try {
    return (await statusIfRunning(name, flags)) !== null;
  } catch (error) {
    if (error instanceof CommandError) return true;
    throw error;
  }
}

export const askStatus = async (name: string, flags: RunDirFlags): Promise<MirrorStatus> =>
  (await ask(name, { command: 'status' }, flags)) as MirrorStatus;

async function statusIfRunning(name: string, flags: RunDirFlags): Promise<MirrorStatus | null> {
  try {
    return await askStatus(name, flags);
  } catch (error) {
    if (error instanceof CommandError && error.cause instanceof NotRunningError) return null;
    throw error;
  }
}

/** Of the mirrors of these names, or of all that run, by name. A daemon that was killed leaves its socket: `died` hears of it. */
export async function askStatuses(
  names: readonly string[],
  flags: RunDirFlags,
  died: (name: string) => void = () => undefined,
): Promise<MirrorStatus[]> {
  const statuses: MirrorStatus[] = [];
  for (const name of names) statuses.push(await askStatus(name.replace(/^mirror\//, ''), flags));
  if (names.length > 0) return statuses;
  for (const running of mirrorsIn(flags.runDir)) {
    const status = await statusIfRunning(running, flags);
    if (status === null) died(running);
    else statuses.push(status);
  }
  return statuses;
}

function mirrorsIn(runDir: string): string[] {
  try {
    return readdirSync(runDir)
      .sort()
      .flatMap((fileName) => mirrorOfControlFile(fileName) ?? []);
  } catch (error) {
    // Nothing was ever started here.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}
