import { defaultRunDirectory } from '../../control/paths.js';
import { systemClock } from '../../device/clock.js';
import { createLineLog, standardOutput } from '../daemon/log.js';
import { runDaemon } from '../daemon/run.js';
import { Syslog } from '../daemon/syslog.js';
import type { GgatedOptions } from './options.js';

/** The last lines' time to reach syslog when the daemon ends. */
const SYSLOG_CLOSE_MS = 1_000;

/**
 * The daemon behind `ggated`. Calls `ready` when clients can connect and the pid file is written; resolves when it was
 * told to stop. Throws CommandError and its like if it can't start.
 */
export async function runGgated(
  options: GgatedOptions,
  ready: () => Promise<void> | undefined,
): Promise<void> {
  // FreeBSD's service(8) looks for this name behind the pid in the pid file; without it that is 'node'.
  process.title = 'ggated';
  const { exportsFile, verbose, ...rest } = options;
  const settings = {
    ...rest,
    exports: { kind: 'file', path: exportsFile },
    tls: null,
    isShared: false,
    diskTimeoutMs: null,
    // It has no option for it, as FreeBSD's has none.
    runDirectory: process.env['GGMIRROR_RUN_DIR'] ?? defaultRunDirectory(process.platform),
  } as const;
  if (verbose) {
    const output = standardOutput();
    const log = createLineLog((level, text) => output.write(`${level}: ${text}\n`));
    await runDaemon(settings, {
      log,
      clock: systemClock,
      closeLog: async () => await Promise.resolve(),
      ready,
    });
    return;
  }
  const syslog = new Syslog(`ggated[${process.pid}]`, systemClock);
  const log = createLineLog((level, text) => {
    if (level !== 'debug') syslog.write(level, text);
  });
  const closeLog = async (): Promise<void> => await syslog.close(SYSLOG_CLOSE_MS);
  await runDaemon(settings, { log, clock: systemClock, closeLog, ready });
}
