import { mkdirSync } from 'node:fs';
import type { TlsOptions } from 'node:tls';
import { parseComponent } from '../../control/component-spec.js';
import { ggatePath, type GgateFrontOptions } from '../../control/front-ends.js';
import { programHook } from '../../control/hooks.js';
import { MirrorService, type MirrorServiceOptions } from '../../control/mirror-service.js';
import { mirrorPaths } from '../../control/paths.js';
import { providerOpener } from '../../control/provider-openers.js';
import type { Clock } from '../../device/clock.js';
import { lockFileExclusive } from '../../device/platform/files.js';
import { systemRandom } from '../../device/random.js';
import { AssembleError } from '../../mirror/assemble.js';
import { messageOf } from '../../protocol/errors.js';
import { exportImages, systemResolveName } from '../../server/exports-file.js';
import { ListenError } from '../../server/listener.js';
import { loadTlsOptions } from '../../server/tls-options.js';
import type { DaemonLog } from '../daemon/log.js';
import { PidFile } from '../daemon/pid-file.js';
import { type DaemonSurroundings, endOnBugs } from '../daemon/run.js';
import { SignalQueue } from '../daemon/signals.js';
import { within } from '../daemon/within.js';
import { CommandError } from '../errors.js';
import type { GgateSettings, MirrorSettings } from './settings.js';
import { readSettingsFiles } from './settings-files.js';
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
  const pidFile = PidFile.take(paths.pidFile, lockFileExclusive);
  try {
    const service = await startService(settings, around);
    endOnBugs(around, pidFile);
    const signals = new SignalQueue();
    pidFile.write(process.pid);
    await around.ready?.();
    await Promise.race([service.whenStopping, nextStop(signals, around.log)]);
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
  { log, clock }: { readonly log: DaemonLog; readonly clock: Clock },
): Promise<MirrorService> {
  const { name, timeoutMs, runDirectory, nbdPath, nbdTcp, ggate, hook, components, ...rest } = settings;
  const paths = mirrorPaths(runDirectory, name);
  const { remoteTls: tls, nbdTls } = await readSettingsFiles(settings);
  try {
    return await MirrorService.start({
      ...rest,
      name,
      timeoutMs,
      providers: components.map((one) => providerOpener(one, { timeoutMs, tls, clock })),
      openerOf: (text) => providerOpener(parseComponent(text), { timeoutMs, tls, clock }),
      controlPath: paths.control,
      nbdPath: nbdPath ?? paths.nbd,
      nbdTcp: endpointOf(nbdTcp, nbdTls),
      ggate: ggate === null ? null : await ggateFrontOf(name, ggate, clock),
      hook: hook === null ? null : programHook(hook),
      pid: process.pid,
      clock,
      random: systemRandom,
      log,
    });
  } catch (error) {
    if (error instanceof AssembleError || error instanceof ListenError) {
      throw new CommandError(error.message, { cause: error });
    }
    throw error;
  }
}

/** Names in the rules are looked up, and files are read, once. */
async function ggateFrontOf(
  name: string,
  { port, address, allow, tls }: GgateSettings,
  clock: Clock,
): Promise<GgateFrontOptions> {
  const fallback = allow.length === 0 ? 'loopback' : 'any';
  const where = address === null ? fallback : { host: address };
  return {
    endpoints: [{ address: where, port, isTls: tls !== null }],
    exports: await exportImages([ggatePath(name)], allow, { clock, resolveName: systemResolveName }),
    tls: tls === null ? null : await loadTlsOptions(tls),
  };
}

function endpointOf(
  nbdTcp: MirrorSettings['nbdTcp'],
  tls: TlsOptions | null,
): MirrorServiceOptions['nbdTcp'] {
  if (nbdTcp === null) return null;
  const { host, port } = nbdTcp;
  return tls === null ? { host, port } : { host, port, tls };
}

async function closeInOrder(
  service: MirrorService,
  signals: SignalQueue,
  { log, clock }: DaemonSurroundings,
): Promise<boolean> {
  const closing = within(service.close(), CLOSE_MS, clock).catch((error: unknown) => {
    log.error({ reason: messageOf(error) }, 'the mirror did not end in order; its next start repairs that');
    return true;
  });
  const isInTime = await Promise.race([closing, nextStop(signals, log).then(() => false)]);
  if (!isInTime) log.warn({}, 'stopped before everything was answered; the next start repairs that');
  return isInTime;
}

/** A mirror has nothing to read anew at SIGHUP. */
async function nextStop(signals: SignalQueue, log: DaemonLog): Promise<void> {
  let signal = await signals.next();
  while (signal === 'SIGHUP') signal = await signals.next();
  log.info({ signal }, 'stopping');
}
