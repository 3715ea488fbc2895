import type { TlsOptions } from 'node:tls';
import { startServeControl } from '../../control/serve/serve-control.js';
import type { Clock } from '../../device/clock.js';
import { probeMedia } from '../../device/media.js';
import { probeExport } from '../../server/probe-export.js';
import { systemRandom } from '../../device/random.js';
import type { ExportList } from '../../server/access.js';
import { exportImages, loadExports, systemResolveName, type ExportsDeps } from '../../server/exports-file.js';
import { GgateServer } from '../../server/ggate-server.js';
import { ListenError, type ListenEndpoint } from '../../server/listener.js';
import { createServerIdentity } from '../../server/server-identity.js';
import { FileSessions } from '../../server/file-sessions.js';
import { loadTlsOptions } from '../../server/tls-options.js';
import { CommandError } from '../errors.js';
import { describeExport } from './describe-exports.js';
import type { RunningServer } from './lifecycle.js';
import type { DaemonLog } from './log.js';
import { DEFAULT_DISK_TIMEOUT_MS, type DaemonSettings } from './settings.js';

/** More of them in the log at every start would hide the rest of it. */
const SAID_EXPORTS_MAX = 50;

/**
 * Builds the server that the settings describe and starts it. Clients can connect when this resolves. Throws
 * CommandError, DeviceError or ProtocolError with a line for the person who started it.
 */
export async function startServer(
  settings: DaemonSettings,
  { log, clock }: { readonly log: DaemonLog; readonly clock: Clock },
): Promise<RunningServer> {
  const deps: ExportsDeps = { clock, resolveName: systemResolveName };
  const exports = await readExports(settings, deps);
  const tls = await readTls(settings);
  const sessions = new FileSessions({
    log,
    clock,
    isShared: settings.isShared,
    flushNotes: settings.runDirectory,
    diskTimeoutMs: settings.diskTimeoutMs ?? DEFAULT_DISK_TIMEOUT_MS,
    receiveBufferBytes: settings.receiveBufferBytes,
    sendBufferBytes: settings.sendBufferBytes,
  });
  const server = new GgateServer({
    endpoints: endpointsOf(settings),
    exports,
    sessions,
    probeMedia: probeExport,
    identity: createServerIdentity(systemRandom),
    clock,
    log,
    tls,
    noDelay: settings.noDelay,
  });
  await sayMedia(settings, log);
  await listen(server, log);
  const { runDirectory } = settings;
  const control = await startServeControl({ runDirectory, pid: process.pid, sessions, clock, log });
  sayExports(settings, exports, log);
  return {
    async reload() {
      const [freshExports, freshTls] = [await readExports(settings, deps), await readTls(settings)];
      server.reload(freshExports);
      if (freshTls !== null) server.reloadTls(freshTls);
      log.info({}, 'exports read again; sessions that run go on as they are');
      sayExports(settings, freshExports, log);
    },
    stopAccepting: () => server.close(),
    drain: async (timeoutMs) => {
      await Promise.all([sessions.drain(timeoutMs), control?.close()]);
    },
    sessionCount: async () => (await sessions.list()).length,
  };
}

const readExports = async ({ exports }: DaemonSettings, deps: ExportsDeps): Promise<ExportList> =>
  exports.kind === 'file'
    ? await loadExports(exports.path, deps)
    : await exportImages(exports.images, exports.allow, deps);

const readTls = async ({ tls }: DaemonSettings): Promise<TlsOptions | null> =>
  tls === null
    ? null
    : await loadTlsOptions({ certificate: tls.certificateFile, key: tls.keyFile, authority: tls.caFile });

function endpointsOf(settings: DaemonSettings): ListenEndpoint[] {
  const fallback = isForThisMachineOnly(settings) ? 'loopback' : 'any';
  const address = settings.address === null ? fallback : { host: settings.address };
  const endpoints: ListenEndpoint[] = [];
  if (settings.port !== null) endpoints.push({ address, port: settings.port, isTls: false });
  if (settings.tls !== null) endpoints.push({ address, port: settings.tls.port, isTls: true });
  return endpoints;
}

const isForThisMachineOnly = ({ exports }: DaemonSettings): boolean =>
  exports.kind === 'images' && exports.allow.length === 0;

async function listen(server: GgateServer, log: DaemonLog): Promise<void> {
  try {
    for (const { address, port, isTls } of await server.start()) {
      log.info({ address, port, tls: isTls }, 'listening');
    }
  } catch (error) {
    if (error instanceof ListenError) throw new CommandError(error.message, { cause: error });
    throw error;
  }
}

/** Clients can't tell a typing error from a missing disk, so whoever names images hears of it at once. */
async function sayMedia({ exports }: DaemonSettings, log: DaemonLog): Promise<void> {
  if (exports.kind === 'file') return;
  for (const path of exports.images) {
    const { mediaSizeBytes, sectorSizeBytes, isReadOnly, note } = await probeMedia(path, 'ro');
    const fields = { path, bytes: mediaSizeBytes, sector: sectorSizeBytes, readOnly: isReadOnly };
    if (note === null) log.info(fields, 'serving');
    else log.warn(fields, `serving: ${note}`);
    if (isReadOnly) log.warn({ path }, "it can't be written; clients that want to write are refused");
  }
}

function sayExports(settings: DaemonSettings, exports: ExportList, log: DaemonLog): void {
  // The one that is tried first comes last, as in the file.
  for (const entry of exports.slice(0, SAID_EXPORTS_MAX).reverse())
    log.info(describeExport(entry), 'exported');
  if (exports.length > SAID_EXPORTS_MAX) {
    log.info({ exports: exports.length - SAID_EXPORTS_MAX }, 'more exports, not shown here');
  }
  if (!isForThisMachineOnly(settings)) return;
  log.info({}, 'reachable from this machine only; add --allow 192.168.1.100 to let another host in');
}
