import { mkdirSync } from 'node:fs';
import { MirrorService } from '../../control/mirror-service.js';
import { mirrorPaths } from '../../control/paths.js';
import { startPatiently } from '../../control/start-policy.js';
import { WaitingMirror } from '../../control/waiting-mirror.js';
import { doneWithin } from '../../device/clock.js';
import { lockFileExclusive } from '../../device/platform/files.js';
import { AssembleError } from '../../mirror/start/assemble.js';
import { messageOf } from '../../protocol/errors.js';
import { ListenError } from '../../server/listener.js';
import type { DaemonLog } from '../daemon/log.js';
import { PidFile } from '../daemon/pid-file.js';
import { type DaemonSurroundings, endOnBugs } from '../daemon/run.js';
import { SignalQueue } from '../daemon/signals.js';
import { CommandError } from '../errors.js';
import type { MirrorSettings } from './settings.js';
import { serviceOptions } from './settings-service.js';
import { settingsWarnings } from './warnings.js';

/** NBD's clients have ten seconds, then a cache full of writes is flushed; init systems wait for longer. */
const CLOSE_MS = 40_000;

/**
 * Runs a mirror until a signal or `ggmirror stop` ends it. Resolves with whether everything ended in good order; if not,
 * a disk hangs, and the process can't end but by SIGKILL. Throws CommandError and its like if it can't start.
 */
export async function runMirror(settings: MirrorSettings, around: DaemonSurroundings): Promise<boolean> {
  const paths = mirrorPaths(settings.runDirectory, settings.name);
  for (const warning of settingsWarnings(settings)) around.log.warn({}, warning);
  mkdirSync(settings.runDirectory, { recursive: true, mode: 0o750 });
  const pidFile = PidFile.take(paths.pidFile, lockFileExclusive, `mirror/${settings.name} is`);
  const signals = new StopSignals(around.log);
  try {
    // It may wait for long, and whoever asks for it is to hear of this process, not of one that has died.
    pidFile.write(process.pid);
    const { service, waiting } = await startService(settings, around, signals);
    endOnBugs(around, pidFile);
    const stopped = signals.first;
    await around.ready?.();
    await Promise.race([service.whenStopping, waiting.whenStopped, stopped]);
    return await closeInOrder(service, signals, around);
  } finally {
    pidFile.remove();
    await around.closeLog();
  }
}

/** For callers of runMirror, as the last thing that they do. */
export function endProcess(isInOrder: boolean): never {
  // process.exit() would wait for the thread of a hung disk for ever.
  if (!isInOrder) process.kill(process.pid, 'SIGKILL');
  process.exit(0);
}

async function startService(
  settings: MirrorSettings,
  around: DaemonSurroundings,
  signals: StopSignals,
): Promise<{ readonly service: MirrorService; readonly waiting: WaitingMirror }> {
  const { name, runDirectory, components } = settings;
  const { log, clock } = around;
  const { control: controlPath } = mirrorPaths(runDirectory, name);
  const names = components.map(({ provider }) => provider);
  const waiting = new WaitingMirror({ name, pid: process.pid, components: names, controlPath, clock, log });
  const policy = settings.startPolicy ?? 'safe';
  const respectsUsers = settings.respectsUsers || typeof policy === 'number';
  let hasWaited = false as boolean; // set in a callback
  try {
    const options = await serviceOptions(settings, around);
    const service = await startPatiently({
      policy,
      attempt: (degraded, isTriedAgain) =>
        MirrorService.start({
          ...options,
          degraded,
          respectsUsers,
          isTriedAgain,
          handOver: () => waiting.close(),
        }),
      waits: async (why) => {
        hasWaited = true;
        await waiting.waits(why);
        await around.waits?.(why);
      },
      ended: () =>
        Promise.race([waiting.whenStopped, signals.first, ...(around.orphaned ? [around.orphaned()] : [])]),
      clock,
    });
    if (service !== null) return { service, waiting };
    throw new CommandError(`mirror/${name} was not started: it was ended while it waited`);
  } catch (error) {
    await waiting.close();
    if (hasWaited) log.error({ reason: messageOf(error) }, `mirror/${name} was not started`);
    if (error instanceof AssembleError || error instanceof ListenError) {
      throw new CommandError(error.message, { cause: error });
    }
    throw error;
  }
}

async function closeInOrder(
  service: MirrorService,
  signals: StopSignals,
  { log, clock }: DaemonSurroundings,
): Promise<boolean> {
  const closing = doneWithin(service.close(), CLOSE_MS, clock).catch((error: unknown) => {
    log.error({ reason: messageOf(error) }, 'the mirror did not end in order; its next start repairs that');
    return true;
  });
  const isInTime = await Promise.race([closing, signals.next().then(() => false)]);
  if (!isInTime) log.warn({}, 'stopped before everything was answered; the next start repairs that');
  return isInTime;
}

/** The signals that end a mirror, which has nothing to read anew at a SIGHUP. */
class StopSignals {
  #queue: SignalQueue | null = null;
  #first: Promise<void> | null = null;

  constructor(private readonly log: DaemonLog) {}

  /** From here on none of them ends the process by itself; a start that takes too long can be stopped as any program. */
  get first(): Promise<void> {
    this.#first ??= this.next();
    return this.#first;
  }

  /** Only the last call hears of it. */
  async next(): Promise<void> {
    this.#queue ??= new SignalQueue();
    let signal = await this.#queue.next();
    while (signal === 'SIGHUP') signal = await this.#queue.next();
    this.log.info({ signal }, 'stopping');
  }
}
