import { once } from 'node:events';
import { promises as fs, type Stats } from 'node:fs';
import { connect, type Server } from 'node:net';
import { isMainThread } from 'node:worker_threads';
import { messageOf } from '../../protocol/errors.js';
import { LISTEN_BACKLOG } from '../limits.js';
import { ListenError } from '../listener.js';

/**
 * Makes `server` listen on a Unix socket with exactly the permissions `mode`. A socket that nobody answers on any more,
 * as a killed server leaves it, is replaced. Rejects with ListenError: when somebody answers, when the path is something
 * else, and with what the system says.
 */
export async function listenOnUnixSocket(server: Server, path: string, mode: number): Promise<void> {
  try {
    await listen(server, path, mode);
  } catch (cause) {
    if (codeOf(cause) !== 'EADDRINUSE') throw listenError(path, cause);
    await removeStale(path);
    await listen(server, path, mode).catch((again: unknown) => {
      throw listenError(path, again);
    });
  }
  // Workers have no umask of their own to set; there the socket has had the process's for a moment.
  if (!isMainThread) await fs.chmod(path, mode);
}

async function listen(server: Server, path: string, mode: number): Promise<void> {
  // Node makes the socket before listen() returns, so that nothing else is created with this mask.
  const before = isMainThread ? process.umask(0o777 - mode) : null;
  try {
    server.listen({ path, backlog: LISTEN_BACKLOG });
  } finally {
    if (before !== null) process.umask(before);
  }
  await once(server, 'listening'); // Rejects at 'error'.
}

async function removeStale(path: string): Promise<void> {
  const found = await statOf(path);
  if (!found.isSocket()) {
    throw new ListenError(`can't listen on ${path}: there is something else; move it or choose another path`);
  }
  if (await isAnswered(path)) {
    throw new ListenError(`can't listen on ${path}: another server does; stop it or choose another path`);
  }
  // Another server may have had the same thought.
  const now = await statOf(path);
  if (now.ino !== found.ino || now.dev !== found.dev) {
    throw new ListenError(`can't listen on ${path}: another server has just come; choose another path`);
  }
  await fs.unlink(path).catch((cause: unknown) => {
    throw listenError(path, cause);
  });
}

async function statOf(path: string): Promise<Stats> {
  try {
    return await fs.lstat(path);
  } catch (cause) {
    throw listenError(path, cause);
  }
}

async function isAnswered(path: string): Promise<boolean> {
  const probe = connect({ path });
  try {
    await once(probe, 'connect');
    return true;
  } catch (cause) {
    // A full backlog is no sign of death.
    return codeOf(cause) !== 'ECONNREFUSED';
  } finally {
    probe.destroy();
  }
}

const codeOf = (cause: unknown): string | undefined => (cause as NodeJS.ErrnoException | null)?.code;

function listenError(path: string, cause: unknown): ListenError {
  const why = messageOf(cause);
  return new ListenError(`can't listen on ${path}: ${why}`, { cause });
}
