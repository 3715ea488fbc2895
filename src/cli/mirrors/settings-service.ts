import type { TlsOptions } from 'node:tls';
import { parseComponent } from '../../control/component-spec.js';
import { ggatePath, type GgateFrontOptions } from '../../control/front-ends.js';
import { programHook } from '../../control/hooks.js';
import { mirrorPaths } from '../../control/paths.js';
import { providerOpener } from '../../control/provider-openers.js';
import type { MirrorServiceOptions } from '../../control/service-options.js';
import type { Clock } from '../../device/clock.js';
import { systemRandom } from '../../device/random.js';
import { exportImages, systemResolveName } from '../../server/exports-file.js';
import { loadTlsOptions } from '../../server/tls-options.js';
import type { DaemonSurroundings } from '../daemon/run.js';
import type { GgateSettings, MirrorSettings } from './settings.js';
import { readSettingsFiles } from './settings-files.js';

/** What a mirror's service is to be run with: certificates are read, and names are looked up, once. Rejects as readSettingsFiles(). */
export async function serviceOptions(
  settings: MirrorSettings,
  { log, clock }: DaemonSurroundings,
): Promise<MirrorServiceOptions> {
  const { name, timeoutMs, runDirectory, nbdPath, nbdTcp, ggate, hook, components, ...rest } = settings;
  const paths = mirrorPaths(runDirectory, name);
  const { remoteTls: tls, nbdTls } = await readSettingsFiles(settings);
  const opening = { timeoutMs, tls, clock, flushNotes: runDirectory };
  return {
    ...rest,
    name,
    timeoutMs,
    providers: components.map((one) => providerOpener(one, opening)),
    openerOf: (text) => providerOpener(parseComponent(text), opening),
    controlPath: paths.control,
    nbdPath: nbdPath ?? paths.nbd,
    nbdTcp: endpointOf(nbdTcp, nbdTls),
    ggate: ggate === null ? null : await ggateFrontOf(name, ggate, clock),
    hook: hook === null ? null : programHook(hook),
    pid: process.pid,
    clock,
    random: systemRandom,
    log,
  };
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
