import type { ErrnoName } from '../protocol/errno.js';
import type { AttachRequest, PairedHalves, SessionHost } from './halves.js';
import type { ServerLog } from './server-log.js';
import { refuseHalves } from './refuse-halves.js';

/** A client that was silent this long may be a dead one, whose host now asks again. */
export const TAKEOVER_SILENT_MS = 10_000;

/**
 * An end of a connection is noticed within so many looks. They are counted, and not only timed: a daemon that had to
 * stand still for a while finds the end of a connection only after the timers that fell due meanwhile.
 */
const DETACH_POLLS = 10;
const DETACH_POLL_MS = 50;

/** How long the last flush of a session is waited for. Less than a client waits for its handshake. */
const DETACH_MS_MAX = 8000;

/** How long an old session may take to finish its requests before it is killed. */
const TAKEOVER_STOP_MS = 2000;

/** The same for what is released. A flush of a cache full of writes takes its time, and must not be cut off. */
const RELEASE_STOP_MS = 30_000;

/** What was let go of, and whom it was given to. */
export interface Released {
  /** As it was named when it was released. */
  readonly path: string;
  /** For people, and to find what belongs together: 'mirror/sites'. */
  readonly holder: string;
}

/** Why something can't be released. The message is a line for people. */
export class ReleaseError extends Error {
  override readonly name = 'ReleaseError';
  constructor(
    /** IN_USE: a client writes it, and that was not to be ended. HANGS: its session does not end. HELD: another holder. */
    readonly code: 'IN_USE' | 'HANGS' | 'HELD',
    message: string,
  ) {
    super(message);
  }
}

/** A session that runs, as the rule of one writer sees it. */
export interface SupervisedSession {
  readonly request: AttachRequest;
  /** Of what it is on; the same for every name of it. */
  readonly identity: string;
  /** Of its process. */
  readonly pid: number;
  readonly isGone: boolean;
  /** It serves nobody any more and will be gone when it has flushed. */
  readonly isEnding: boolean;
  /** Resolves when the client has its answer, good or bad. Never rejects. */
  readonly whenStarted: Promise<void>;
  /** Resolves when the last of its writes is done or will never be. Never rejects. */
  readonly whenGone: Promise<void>;
  /** False if it is still there after `timeoutMs`. */
  goneWithin(timeoutMs: number): Promise<boolean>;
  /**
   * Lets requests in flight finish, flushes and ends it; cuts it off after `timeoutMs`, or after `flushingMsMax` (the same
   * if left out) when by then only its flush is left. Resolves when it is gone.
   */
  stop(timeoutMs: number, flushingMsMax?: number): Promise<void>;
  /** How long nothing has come from its client; null if it does not say. */
  silentMs(): Promise<number | null>;
}

export interface SupervisorOptions<Session> {
  readonly log: ServerLog;
  /** Lets several clients write the same thing, who then have to agree among themselves. */
  readonly isShared: boolean;
  /** TAKEOVER_SILENT_MS, but for tests. */
  readonly takeoverSilentMs?: number;
  /** What a path leads to: the same for every name of it. */
  readonly identityOf: (path: string) => Promise<string>;
  /** Starts a session: takes over the sockets and answers the last half. */
  readonly begin: (halves: PairedHalves, identity: string) => Session;
  /** Why nobody may have such a session now, whatever sessions there are; null if nothing is in the way. */
  readonly obstacleTo?: (request: AttachRequest) => ErrnoName | null;
}

/**
 * The sessions of one daemon, and the rule that a thing has one writer. Invariants: unless `isShared`, `#running` holds at
 * most one session that may write for each identity; nothing that may write is on what is released, but for sessions that
 * are being ended.
 */
export class SessionSupervisor<Session extends SupervisedSession> implements SessionHost {
  readonly #running = new Set<Session>();
  /** The last admission of each file; the next one waits for it, so that two never decide on the same facts. */
  readonly #admissions = new Map<string, Promise<void>>();
  /** By identity. */
  readonly #released = new Map<string, Released>();
  #isDraining = false;

  constructor(private readonly options: SupervisorOptions<Session>) {}

  get sessions(): readonly Session[] {
    return [...this.#running];
  }

  async refusalOf(request: AttachRequest): Promise<ErrnoName | null> {
    const identity = await this.options.identityOf(request.path);
    const obstacle = this.#obstacleTo(request, identity);
    if (obstacle !== null) return obstacle;
    const writer = this.#writerOf(identity, request);
    return writer === null || (await this.#claim(writer, request)) !== 'busy' ? null : 'EBUSY';
  }

  start(halves: PairedHalves): void {
    const { request } = halves;
    this.options
      .identityOf(request.path)
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

  get released(): readonly Released[] {
    return [...this.#released.values()];
  }

  /**
   * Lets go of what the path leads to: its sessions are ended in order, which flushes what they wrote, and new ones that may
   * write are refused with EBUSY until takeBack(). Resolves, when the last of them is gone, with whether it was served until now.
   * Rejects with ReleaseError, and then it is served as before: a client that writes is only sent away if `isForced`.
   */
  async release(
    path: string,
    options: { readonly holder: string; readonly isForced: boolean },
  ): Promise<boolean> {
    const identity = await this.options.identityOf(path);
    let isNew = false;
    await this.#inTurn(identity, async () => {
      const before = this.#released.get(identity);
      if (before !== undefined && before.holder !== options.holder) {
        throw new ReleaseError('HELD', `${path} is released to ${before.holder} already`);
      }
      isNew = before === undefined;
      if (isNew) await this.#letGo(identity, { path, holder: options.holder }, options.isForced);
    });
    return isNew;
  }

  /** Serves again what was released to this holder: what the path leads to, or all of it. Resolves with what that is. */
  async takeBack(holder: string, path: string | null): Promise<Released[]> {
    const only = path === null ? null : await this.options.identityOf(path);
    const identities = [...this.#released.keys()].filter((identity) => only === null || identity === only);
    const taken: Released[] = [];
    for (const identity of identities) {
      await this.#inTurn(identity, () => {
        const released = this.#released.get(identity);
        if (released?.holder !== holder) return Promise.resolve();
        this.#released.delete(identity);
        taken.push(released);
        this.options.log.info({ export: released.path, holder }, 'taken back: clients may attach again');
        return Promise.resolve();
      });
    }
    return taken;
  }

  async #letGo(identity: string, released: Released, isForced: boolean): Promise<void> {
    const { path, holder } = released;
    const users = [...this.#running].filter((session) => session.identity === identity && !session.isGone);
    const writer = users.find(({ request, isEnding }) => request.access !== 'ro' && !isEnding);
    if (writer !== undefined && !isForced) {
      const { address } = writer.request.peer;
      throw new ReleaseError('IN_USE', `${path} is in use by ${address}, which may write to it`);
    }
    this.#released.set(identity, released);
    await Promise.all(users.map((session) => session.stop(RELEASE_STOP_MS)));
    if (users.some(({ isGone }) => !isGone)) {
      this.#released.delete(identity);
      throw new ReleaseError('HANGS', `${path}: a session does not end, because a request hangs in the disk`);
    }
    const fields = { export: path, holder, sessions: users.length };
    this.options.log.warn(fields, 'released: clients that may write are refused until it is taken back');
  }

  #obstacleTo(request: AttachRequest, identity: string): ErrnoName | null {
    if (this.#isDraining) return 'EBUSY';
    // Who only reads may look what has become of it: another mirror, whether it was written without that one.
    if (request.access !== 'ro' && this.#released.has(identity)) return 'EBUSY';
    return this.options.obstacleTo?.(request) ?? null;
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
    const errno =
      this.#obstacleTo(request, identity) ??
      (await this.#makeWay(request, identity)) ??
      this.#obstacleTo(request, identity);
    if (errno !== null) {
      const fields = { peer: request.peer.address, export: request.path, mode: request.access, errno };
      this.options.log.warn(fields, 'refused: another session may write this export, or it is released');
      refuseHalves(halves, errno);
      return;
    }
    const session = this.options.begin(halves, identity);
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
    const fields = { peer: request.peer.address, export: request.path, sessionPid: writer.pid };
    this.options.log.warn(fields, 'the same client attaches again: its old session is ended');
    // The new session's first request must find every write of the old one done or dropped, so wait for the process.
    // A flush that is cut off may have failed, so the new session's first one would have to.
    await writer.stop(TAKEOVER_STOP_MS, DETACH_MS_MAX);
    return writer.isGone ? null : 'EBUSY';
  }

  /**
   * What becomes of a file's writer for the sake of a newcomer. A client that detaches and at once attaches again finds
   * its old session still flushing, or so fresh that its end has not been noticed: that is waited for.
   */
  async #claim(writer: Session, request: AttachRequest): Promise<'free' | 'replace' | 'busy'> {
    for (let polls = 0; ; polls++) {
      if (writer.isGone) return 'free';
      if (writer.isEnding) return (await writer.goneWithin(DETACH_MS_MAX)) ? 'free' : 'busy';
      if (await this.#mayReplace(writer, request)) return 'replace';
      if (polls === DETACH_POLLS) return 'busy';
      await writer.goneWithin(DETACH_POLL_MS);
    }
  }

  #writerOf(identity: string, request: AttachRequest): Session | null {
    if (this.options.isShared || request.access === 'ro') return null;
    for (const session of this.#running) {
      if (session.identity === identity && session.request.access !== 'ro' && !session.isGone) return session;
    }
    return null;
  }

  /** The same host after its silence; at once if it proves by its instance id to be the same client. */
  async #mayReplace(writer: Session, request: AttachRequest): Promise<boolean> {
    const old = writer.request;
    if (old.peer.address !== request.peer.address) return false;
    if (old.hello !== null && request.hello?.instanceId.equals(old.hello.instanceId) === true) return true;
    const silentMs = await writer.silentMs();
    return silentMs !== null && silentMs >= (this.options.takeoverSilentMs ?? TAKEOVER_SILENT_MS);
  }
}
