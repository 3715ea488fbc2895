import { mkdirSync, readdirSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import type { Clock } from '../../device/clock.js';
import { messageOf } from '../../protocol/errors.js';
import type { ServerLog } from '../../server/server-log.js';
import { ControlServer } from '../control-server.js';
import { serveControlPath, serverOfControlFile } from '../paths.js';
import {
  parseServeRequest,
  performServeRequest,
  type ServedSessions,
  type ServeRequest,
} from './requests.js';

export interface ServeControlOptions {
  readonly runDirectory: string;
  readonly pid: number;
  readonly sessions: ServedSessions;
  readonly clock: Clock;
  readonly log: ServerLog;
}

/**
 * The control socket of a server, in the folder of the mirrors' sockets and protected as they are. A server that can't
 * have one serves all the same, because serving needs no privileges: the log says so, and null is returned.
 */
export async function startServeControl(
  options: ServeControlOptions,
): Promise<ControlServer<ServeRequest> | null> {
  const { runDirectory, pid, sessions, clock, log } = options;
  try {
    mkdirSync(runDirectory, { recursive: true, mode: 0o750 });
    removeLeftovers(runDirectory);
    const server = new ControlServer({
      path: serveControlPath(runDirectory, pid),
      parse: parseServeRequest,
      handle: (request) => performServeRequest(sessions, request, pid),
      clock,
      log,
    });
    await server.start();
    return server;
  } catch (error) {
    log.info(
      { reason: messageOf(error) },
      "no control socket, so 'ggmirror promote' can't take an image from this server",
    );
    return null;
  }
}

/** Of servers that were killed. Each has a name of its own, so nobody else would ever remove them. */
function removeLeftovers(runDirectory: string): void {
  for (const fileName of readdirSync(runDirectory)) {
    const pid = serverOfControlFile(fileName);
    if (pid !== null && !isAlive(pid)) unlinkSync(join(runDirectory, fileName));
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
}
