import { COMMAND } from '../protocol/request.js';
import type { ConnectParameters } from './connection.js';
import { PROBED_SERVERS_MAX } from './limits.js';
import { askOnSideSession } from './side-session.js';

/** What is known of servers without hello, by host and port, for the life of this process. */
export class ProbedServers {
  readonly #knowsFlush = new Map<string, boolean>();

  get(server: string): boolean | null {
    return this.#knowsFlush.get(server) ?? null;
  }

  set(server: string, knowsFlush: boolean): void {
    const [oldest] = this.#knowsFlush.keys();
    if (this.#knowsFlush.size >= PROBED_SERVERS_MAX && oldest !== undefined) this.#knowsFlush.delete(oldest);
    this.#knowsFlush.set(server, knowsFlush);
  }

  forget(server: string): void {
    this.#knowsFlush.delete(server);
  }
}

export const probedServers = new ProbedServers();

/**
 * Whether a server without hello knows FLUSH: it is asked on a session of its own, because a ggated up to FreeBSD 13
 * aborts the session's process on that command (ggate protocol spec, section 5), leaving a core file perhaps, and
 * nothing else. The session is read-only where the mode allows it, so that it can't be a second writer; a flush of
 * nothing at the end of the medium is what FreeBSD's kernel sends. An answer of any kind but success, and a session
 * that ends instead of an answer, mean no. Rejects with a DeviceError when nothing was learned: no session came about,
 * or no answer in time.
 */
export async function probeFlush(parameters: ConnectParameters): Promise<boolean> {
  const access = parameters.access === 'wo' ? ('wo' as const) : ('ro' as const);
  return await askOnSideSession<boolean>(
    { ...parameters, access },
    {
      bytesMax: 1,
      ask: (pipeline, mediaSizeBytes, { resolve }) =>
        pipeline.startEmpty(COMMAND.flush, mediaSizeBytes, { done: (error) => resolve(error === null) }),
      ended: (reason, { resolve, reject }) => {
        if (reason.code === 'DEVICE_TIMEOUT') reject(reason);
        else resolve(false);
      },
    },
  );
}
