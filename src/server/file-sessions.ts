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

/**
 * Sessions on files and disks, each a process of its own. A flush that failed without a client being told is remembered by
 * what the path leads to: the kernel tells of it once. What outlives this process is the session's FlushNote.
 */
export class FileSessions extends SessionSupervisor<RunningSession> {
  constructor(options: FileSessionsOptions) {
    const owing = new Set<string>();
    super({
      ...options,
      identityOf,
      begin: (halves, identity) => {
        // Who only reads waits for no flush.
        const owesFlush = halves.request.access !== 'ro' && owing.delete(identity);
        const owe = (): void => void owing.add(identity);
        return new RunningSession(halves, identity, { ...options, owesFlush, owe });
      },
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
