import type { Clock } from '../../device/clock.js';
import { lockFileExclusive } from '../../device/platform/files.js';
import { serveUntilStopped } from './lifecycle.js';
import type { DaemonLog } from './log.js';
import { PidFile } from './pid-file.js';
import type { DaemonSettings } from './settings.js';
import { SignalQueue } from './signals.js';
import { startServer } from './start-server.js';

export interface DaemonSurroundings {
  readonly log: DaemonLog;
  readonly clock: Clock;
  /** Gives what was logged last its time to arrive. Bounded, never rejects. */
  readonly closeLog: () => Promise<void>;
  /** Called once, when clients can connect and the pid file is written. */
  readonly ready?: () => Promise<void> | undefined;
  /** Called when the start waits for something, and when that changes; a line for people. */
  readonly waits?: (why: string) => Promise<void>;
  /** While the start waits: resolves when whoever wanted it has gone away. */
  readonly orphaned?: () => Promise<void>;
}

/**
 * Serves until a signal ends it. Resolves when the process may exit with 0; hung disks may keep it from ending by
 * itself. Throws CommandError, ProtocolError or a system error, each with one line for people, if it can't start.
 */
export async function runDaemon(settings: DaemonSettings, around: DaemonSurroundings): Promise<void> {
  const { log, clock } = around;
  const pidFile = settings.pidFile === null ? null : PidFile.take(settings.pidFile, lockFileExclusive);
  try {
    const server = await startServer(settings, { log, clock });
    endOnBugs(around, pidFile);
    const signals = new SignalQueue(); // from here on; a start that takes too long can be stopped as any program
    pidFile?.write(process.pid);
    await around.ready?.();
    await serveUntilStopped({ server, signals, log, clock });
  } finally {
    pidFile?.remove();
    await around.closeLog();
  }
}

/** After an error that nobody expected nothing can be trusted; whoever restarts us begins with a clean state. */
export function endOnBugs(
  around: Pick<DaemonSurroundings, 'log' | 'closeLog'>,
  pidFile: PidFile | null,
): void {
  process.on('uncaughtException', (error) => {
    around.log.fatal({ err: error }, `this is a bug, please report it: ${error.message}`);
    pidFile?.remove();
    // process.exit() would wait for the thread of a hung disk for ever.
    const end = (): boolean => process.kill(process.pid, 'SIGKILL');
    around.closeLog().then(end, end);
  });
}
