import { stat } from 'node:fs/promises';
import type { Clock } from '../device/clock.js';
import { type ErrnoName, errnoName } from '../protocol/errno.js';
import type { AttachRequest, PairedHalves, SessionHost } from './halves.js';
import type { ServerLog } from './server-log.js';
import { type SessionSettings, type SessionStatus, RunningSession } from './running-session.js';

/** A client that was silent this long may be a dead one, whose host now asks again. */
export const TAKEOVER_SILENT_MS = 10_000;

/** An end of a connection is noticed within this time, also by a busy machine. */
const DETACH_NOTICED_MS = 500;
const DETACH_POLL_MS = 50;

/** How long the last flush of a session is waited for. Less than a client waits for its handshake. */
const DETACH_MS_MAX = 8000;

/** How long an old session may take to finish its requests before it is killed. */
const TAKEOVER_STOP_MS = 2000;

export interface SupervisorOptions extends SessionSettings {
  readonly log: ServerLog;
  readonly clock: Clock;
  /** TAKEOVER_SILENT_MS, but for tests. */
  readonly takeoverSilentMs?: number;
}

/**
 * The sessions of one daemon, and the rule that a file has one writer. Invariant: unless `isShared`, `#running` holds at
 * most one session that may write for each file identity.
 */
export class SessionSupervisor implements SessionHost {
  readonly #running = new Set<RunningSession>();
  /** The last admission of each file; the next one waits for it, so that two never decide on the same facts. */
  readonly #admissions = new Map<string, Promise<void>>();
  #isDraining = false;

  constructor(private readonly options: SupervisorOptions) {}

  async refusalOf(request: AttachRequest): Promise<ErrnoName | null> {
    if (this.#isDraining) return 'EBUSY';
    const writer = this.#writerOf(await identityOf(request.path), request);
    return writer === null || (await this.#claim(writer, request)) !== 'busy' ? null : 'EBUSY';
  }

  start(halves: PairedHalves): void {
    const { request } = halves;
    identityOf(request.path)
      .then((identity) => this.#inTurn(identity, () => this.#admit(halves, identity)))
      .catch((error: unknown) => {
        this.options.log.error(
          { peer: request.peer.address, export: request.path, error: String(error) },
          'session not started',
        );
        halves.receive.destroy();
        halves.send.destroy();
      });
  }

  /** Ends every session: requests in flight are finished and answered, data is flushed. What is left is killed then. */
  async drain(timeoutMs: number): Promise<void> {
    this.#isDraining = true;
    await Promise.all([...this.#running].map((session) => session.stop(timeoutMs)));
  }

  async list(): Promise<SessionStatus[]> {
    return Promise.all([...this.#running].map((session) => session.status()));
  }

  async #inTurn(identity: string, run: () => Promise<void>): Promise<void> {
    const before = this.#admissions.get(identity) ?? Promise.resolve();
    const mine = before.then(run);
    // A failed admission is told to its own caller; those after it go on.
    const settled = mine.catch(() => undefined);
    this.#admissions.set(identity, settled);
    await mine;
    if (this.#admissions.get(identity) === settled) this.#admissions.delete(identity);
  }

  async #admit(halves: PairedHalves, identity: string): Promise<void> {
    const { request } = halves;
    const errno = this.#isDraining ? 'EBUSY' : await this.#makeWay(request, identity);
    if (errno !== null) {
      const fields = { peer: request.peer.address, export: request.path, mode: request.access, errno };
      this.options.log.warn(fields, 'refused: another session may write this export');
      RunningSession.refuse(halves, errno);
      return;
    }
    const session = new RunningSession(halves, identity, this.options);
    this.#running.add(session);
    session.whenGone
      .finally(() => this.#running.delete(session))
      .catch(() => undefined /* whenGone never rejects */);
    await session.whenStarted;
  }

  /** Ends the writer that the request may replace. Returns EBUSY when there is one that it may not. */
  async #makeWay(request: AttachRequest, identity: string): Promise<ErrnoName | null> {
    const writer = this.#writerOf(identity, request);
    if (writer === null) return null;
    const claim = await this.#claim(writer, request);
    if (claim === 'busy') return 'EBUSY';
    if (claim === 'free') return null;
    const fields = { peer: request.peer.address, export: request.path, pid: writer.pid };
    this.options.log.warn(fields, 'the same client attaches again: its old session is ended');
    // The new session's first request must find every write of the old one done or dropped, so wait for the process.
    await writer.stop(TAKEOVER_STOP_MS);
    return writer.isGone ? null : 'EBUSY';
  }

  /**
   * What becomes of a file's writer for the sake of a newcomer. A client that detaches and at once attaches again finds
   * its old session still flushing, or so fresh that its end has not been noticed: that is waited for.
   */
  async #claim(writer: RunningSession, request: AttachRequest): Promise<'free' | 'replace' | 'busy'> {
    const { clock } = this.options;
    const untilMs = clock.nowMs() + DETACH_NOTICED_MS;
    for (;;) {
      if (writer.isGone) return 'free';
      if (writer.isEnding) return (await writer.goneWithin(DETACH_MS_MAX)) ? 'free' : 'busy';
      if (await this.#mayReplace(writer, request)) return 'replace';
      if (clock.nowMs() >= untilMs) return 'busy';
      await writer.goneWithin(DETACH_POLL_MS);
    }
  }

  #writerOf(identity: string, request: AttachRequest): RunningSession | null {
    if (this.options.isShared || request.access === 'ro') return null;
    for (const session of this.#running) {
      if (session.identity === identity && session.request.access !== 'ro' && !session.isGone) return session;
    }
    return null;
  }

  /** The same host after its silence; at once if it proves by its instance id to be the same client. */
  async #mayReplace(writer: RunningSession, request: AttachRequest): Promise<boolean> {
    const old = writer.request;
    if (old.peer.address !== request.peer.address) return false;
    if (old.hello !== null && request.hello?.instanceId.equals(old.hello.instanceId) === true) return true;
    const facts = await writer.facts();
    return facts !== null && facts.silentMs >= (this.options.takeoverSilentMs ?? TAKEOVER_SILENT_MS);
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
