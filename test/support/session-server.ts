import { join } from 'node:path';
import { probeExport } from '../../src/server/probe-export.js';
import { systemClock } from '../../src/device/clock.js';
import { systemRandom } from '../../src/device/random.js';
import type { ExportList } from '../../src/server/access.js';
import { exportImages } from '../../src/server/exports-file.js';
import { systemResolveName } from '../../src/server/exports-file.js';
import { GgateServer } from '../../src/server/ggate-server.js';
import { createServerIdentity } from '../../src/server/server-identity.js';
import type { ServerLog } from '../../src/server/server-log.js';
import { FileSessions, type FileSessionsOptions } from '../../src/server/file-sessions.js';
import { tellOnFailure } from './tell-on-failure.js';

export interface LogLine {
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  readonly fields: Readonly<Record<string, unknown>>;
  readonly message: string;
}

/** A whole server in this process, its sessions real processes of the built program. */
export interface TestServer {
  readonly port: number;
  readonly sessions: FileSessions;
  readonly log: LogLine[];
  close(): Promise<void>;
}

const SESSION_PROGRAM = join(import.meta.dirname, '../../dist/server/session/session-process.js');

export async function startServer(
  images: readonly string[],
  options: Partial<FileSessionsOptions> & { allow?: readonly string[] } = {},
): Promise<TestServer> {
  const lines: LogLine[] = [];
  const write = (level: LogLine['level']) => (fields: Readonly<Record<string, unknown>>, message: string) =>
    void lines.push({ level, fields, message });
  const log: ServerLog = {
    debug: write('debug'),
    info: write('info'),
    warn: write('warn'),
    error: write('error'),
  };
  tellOnFailure('the server', () => lines.map((line) => JSON.stringify(line)).join('\n'));
  const sessions = new FileSessions({
    log,
    clock: systemClock,
    isShared: false,
    diskTimeoutMs: 20_000,
    receiveBufferBytes: 0,
    sendBufferBytes: 0,
    program: SESSION_PROGRAM,
    ...options,
  });
  const exports: ExportList = await exportImages(images, options.allow ?? [], {
    resolveName: systemResolveName,
    clock: systemClock,
  });
  const server = new GgateServer({
    endpoints: [{ address: { host: '127.0.0.1' }, port: 0, isTls: false }],
    exports,
    sessions,
    probeMedia: probeExport,
    identity: createServerIdentity(systemRandom),
    clock: systemClock,
    log,
  });
  const [address] = await server.start();
  if (address === undefined) throw new Error('the server listens nowhere');
  return {
    port: address.port,
    sessions,
    log: lines,
    close: async () => {
      server.close();
      await sessions.drain(60_000);
    },
  };
}
