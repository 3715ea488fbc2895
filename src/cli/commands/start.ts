import { resolve } from 'node:path';
import { Command, Option } from 'commander';
import { mirrorPaths } from '../../control/paths.js';
import { systemClock } from '../../device/clock.js';
import { BALANCE_ALGORITHMS, type BalanceAlgorithm } from '../../mirror/balance.js';
import { startDetached } from '../daemon/detach.js';
import { createServeLog, LOG_LEVELS, standardOutput, type LogLevel } from '../daemon/log.js';
import { UsageError } from '../errors.js';
import { addRunDirOption, providerName, type RunDirFlags } from '../mirrors/run-dir.js';
import { endProcess, runMirror } from '../mirrors/run-mirror.js';
import type { MirrorSettings } from '../mirrors/settings.js';
import { writeQuietly } from '../output.js';
import { addRemoteOptions, type RemoteFlags } from '../remote-options.js';
import { parseInteger, parseSeconds, parseSize } from '../units.js';

interface StartFlags extends RunDirFlags, RemoteFlags {
  readonly foreground?: boolean;
  readonly degraded?: boolean;
  readonly balance?: BalanceAlgorithm;
  readonly nbdSocket?: string;
  readonly nbdAddress: string;
  readonly nbdPort?: number;
  readonly timeout: number;
  /** False with -n. */
  readonly autosync: boolean;
  readonly resyncRate: number;
  readonly logLevel: LogLevel;
}

const COMPONENTS_MAX = 8;

/** `ggmirror start`: runs a mirror that `ggmirror label` has made, in the background unless told otherwise. */
export function startCommand(): Command {
  const command = new Command('start')
    .description('run a mirror and serve it over NBD')
    .argument('<name>', 'the name that it was labelled with')
    .argument('<provider...>', 'its components: image files, disks or ggate://host[:port]/path')
    .option('--foreground', 'stay in the foreground, with the log on standard output')
    .option('--degraded', 'start although components are missing')
    .addOption(new Option('-b, --balance <algorithm>', 'who answers reads').choices([...BALANCE_ALGORITHMS]))
    .option('--nbd-socket <path>', "where NBD clients connect (default: NAME.nbd in the mirrors' directory)")
    .addOption(
      new Option('--nbd-port <port>', 'listen for NBD clients on this TCP port too').argParser(
        parseInteger(0, 0xffff),
      ),
    )
    .addOption(new Option('--nbd-address <address>', 'with --nbd-port: listen here').default('127.0.0.1'))
    .addOption(
      new Option('--timeout <seconds>', 'drop a component that is silent for this long')
        .argParser(parseSeconds)
        .default(10),
    )
    .option('-n, --no-autosync', 'do not bring components that come back up to date by itself')
    .addOption(
      new Option('--resync-rate <bytes>', 'copy at most this much a second, 0 for no limit')
        .argParser(parseSize)
        .default(0),
    )
    .addOption(new Option('--log-level <level>', 'with --foreground').choices(LOG_LEVELS).default('info'));
  return addRunDirOption(addRemoteOptions(command)).action(
    async (name: string, providers: string[], flags: StartFlags) => await start(name, providers, flags),
  );
}

async function start(name: string, providers: readonly string[], flags: StartFlags): Promise<void> {
  const settings = settingsOf(name, providers, flags);
  if (flags.foreground === true) {
    const log = createServeLog({
      output: standardOutput(),
      isTerminal: process.stdout.isTTY,
      level: flags.logLevel,
    });
    const closeLog = async (): Promise<void> => await Promise.resolve();
    endProcess(await runMirror(settings, { log, clock: systemClock, closeLog }));
  }
  const pid = await startDetached(new URL('../mirrors/mirror-child.js', import.meta.url), settings);
  const socket = settings.nbdPath ?? mirrorPaths(settings.runDirectory, name).nbd;
  writeQuietly(
    process.stdout,
    `mirror/${name} runs (process ${pid}), for NBD clients at nbd+unix:///${name}?socket=${socket}\n`,
  );
}

/** Throws UsageError and ProtocolError for what can be seen to be wrong before anything is opened. */
function settingsOf(name: string, providers: readonly string[], flags: StartFlags): MirrorSettings {
  mirrorPaths(flags.runDir, name);
  const names = providers.map(providerName);
  if (names.length > COMPONENTS_MAX)
    throw new UsageError(`a mirror has at most ${COMPONENTS_MAX} components`);
  const twice = names.find((one, index) => names.indexOf(one) !== index);
  if (twice !== undefined) throw new UsageError(`${twice} is given twice`);
  return {
    name,
    providers: names,
    degraded: flags.degraded === true,
    balance: flags.balance ?? null,
    timeoutMs: flags.timeout * 1000,
    isAutosync: flags.autosync,
    resyncBytesPerSecond: flags.resyncRate,
    runDirectory: flags.runDir,
    nbdPath: flags.nbdSocket === undefined ? null : resolve(flags.nbdSocket),
    nbdTcp: flags.nbdPort === undefined ? null : { host: flags.nbdAddress, port: flags.nbdPort },
    remoteTls: absolute({ tlsCa: flags.tlsCa, tlsCert: flags.tlsCert, tlsKey: flags.tlsKey }),
  };
}

const absolute = (files: Record<string, string | undefined>): Record<string, string> =>
  Object.fromEntries(
    Object.entries(files).flatMap(([key, path]) => (path === undefined ? [] : [[key, resolve(path)]])),
  );
