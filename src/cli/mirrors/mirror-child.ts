import { systemClock } from '../../device/clock.js';
import { report, say, waitForTask, whenOrphaned } from '../daemon/detach.js';
import { createLineLog } from '../daemon/log.js';
import { Syslog } from '../daemon/syslog.js';
import { failureOf } from '../errors.js';
import { endProcess, runMirror } from './run-mirror.js';
import type { MirrorTask } from './settings.js';

/** The last lines' time to reach syslog when the daemon ends. */
const SYSLOG_CLOSE_MS = 1_000;

// The process that `ggmirror start` leaves behind. Its settings come as data and not as a second, hidden command line.
try {
  const { settings, isLeftWaiting } = (await waitForTask()) as MirrorTask;
  process.title = `ggmirror ${settings.name}`;
  const syslog = new Syslog(`ggmirror[${process.pid}]`, systemClock);
  const log = createLineLog((level, text) => syslog.write(level, text), settings.logLevel);
  const isInOrder = await runMirror(settings, {
    log,
    clock: systemClock,
    closeLog: async () => await syslog.close(SYSLOG_CLOSE_MS),
    ready: async () => await report({ kind: 'ready' }),
    waits: async (message) => await (isLeftWaiting ? report : say)({ kind: 'waiting', message }),
    ...(isLeftWaiting ? {} : { orphaned: whenOrphaned }),
  });
  endProcess(isInOrder);
} catch (error) {
  const { exitCode, message } = failureOf(error);
  await report({ kind: 'failed', message: message ?? 'Cannot start the mirror.' }); // heard by nobody after 'ready'
  process.exit(exitCode);
}
