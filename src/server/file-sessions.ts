import { stat } from 'node:fs/promises';
import type { Clock } from '../device/clock.js';
import { errnoName } from '../protocol/errno.js';
import { RunningSession, type SessionSettings, type SessionStatus } from './running-session.js';
import type { ServerLog } from './server-log.js';
import { SessionSupervisor } from './session-supervisor.js';

export interface FileSessionsOptions extends SessionSettings {
  readonly log: ServerLog;
  readonly clock: Clock;
  /** TAKEOVER_SILENT_MS, but for tests. */
  readonly takeoverSilentMs?: number;
}

/** Sessions on files and disks, each a process of its own. */
export class FileSessions extends SessionSupervisor<RunningSession> {
  constructor(options: FileSessionsOptions) {
    super({
      ...options,
      identityOf,
      begin: (halves, identity) => new RunningSession(halves, identity, options),
    });
  }

  async list(): Promise<SessionStatus[]> {
    return Promise.all(this.sessions.map((session) => session.status()));
  }
}

/** The same for every spelling of a path and every link to a file. A file that can't be asked is known by its path. */
async function identityOf(path: string): Promise<string> {
  try {
    const stats = await stat(path, { bigint: true });
    return stats.isFile() ? `file ${stats.dev}:${stats.ino}` : `disk ${stats.rdev}`;
  } catch (error) {
    return `path ${path} ${errnoName(error instanceof Error && 'code' in error ? String(error.code) : undefined)}`;
  }
}
