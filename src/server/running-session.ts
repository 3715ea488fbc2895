import { type ChildProcess, spawn } from 'node:child_process';
import type { Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { TLSSocket } from 'node:tls';
import type { Clock } from '../device/clock.js';
import { errnoName } from '../protocol/errno.js';
import type { AttachRequest, PairedHalves } from './halves.js';
import { lastAndFirst, refuseHalves } from './refuse-halves.js';
import type { ServerLog } from './server-log.js';
import type { SupervisedSession } from './session-supervisor.js';
import type { FromSession, SessionConfig, SessionFacts, ToSession } from './session/messages.js';

/** What holds for all sessions of a server. */
export interface SessionSettings {
  /** Lets several clients write the same file, who then have to agree among themselves. */
  readonly isShared: boolean;
  /** The folder of FlushNotes, which outlive this process; left out: none are kept. */
  readonly flushNotes?: string;
  /** After this long a disk call counts as hung and its requests fail. */
  readonly diskTimeoutMs: number;
  /** Kernel's socket buffers; 0 leaves one as the system sizes it. */
  readonly receiveBufferBytes: number;
  readonly sendBufferBytes: number;
  /** Path of the compiled session program; the one beside this file by default. */
  readonly program?: string;
}

export interface SessionStatus {
  readonly peer: string;
  readonly path: string;
  readonly access: string;
  readonly pid: number;
  readonly ageMs: number;
  /** Null while it does not answer. */
  readonly facts: SessionFacts | null;
}

const PROGRAM = fileURLToPath(new URL('./session/session-process.js', import.meta.url));
/** A session's JavaScript heap holds next to nothing; its buffers are outside. */
const NODE_FLAGS = ['--max-old-space-size=64', '--max-semi-space-size=1'];
const QUERY_MS = 2000;
/** Silence that ends a session with keep-alive, in intervals of it. */
const KEEP_ALIVE_MISSES = 3;

/** What sessions on one file, one after another, leave to each other. */
export interface SessionDebt {
  /** A flush failed before this session, and no client was told. */
  readonly owesFlush: boolean;
  /** Called, when the session is gone, if the next one's first flush has to fail. */
  readonly owe: () => void;
}

/** One session's process, seen from the daemon. */
export class RunningSession implements SupervisedSession {
  readonly request: AttachRequest;
  /** Resolves when the client has its answer, good or bad. Never rejects. */
  readonly whenStarted: Promise<void>;
  /** Resolves when the process is gone, and with it the last of its writes. Never rejects. */
  readonly whenGone: Promise<void>;
  readonly #child: ChildProcess;
  readonly #startedAtMs: number;
  #isGone = false;
  #isReady = false;
  #isRefused = false;
  #isEnding = false;
  #ended: Extract<FromSession, { type: 'ended' }> | null = null;
  #whenFacts: ((facts: SessionFacts) => void)[] = [];

  constructor(
    private readonly halves: PairedHalves,
    readonly identity: string,
    private readonly options: SessionSettings &
      SessionDebt & { readonly log: ServerLog; readonly clock: Clock },
  ) {
    this.request = halves.request;
    this.#startedAtMs = options.clock.nowMs();
    // Taken and handed over within one turn: nothing can come in between, so no byte is lost or read twice.
    const early = takeEarly(halves.receive);
    this.#child = this.#spawn();
    this.#connect(early);
    this.whenStarted = new Promise((resolve) => {
      this.#child.on('message', (message: FromSession) => {
        this.#fromSession(message);
        if (message.type === 'ready' || message.type === 'refused') resolve();
      });
      this.#child.once('close', () => resolve());
    });
    this.whenGone = new Promise((resolve) => {
      this.#child.once('error', (error) => {
        options.log.error({ ...this.#fields(), error: error.message }, 'session process not started');
        this.#gone();
        resolve();
      });
      this.#child.once('exit', () => {
        this.#gone();
        resolve();
      });
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get isGone(): boolean {
    return this.#isGone;
  }

  /** It serves nobody any more and will be gone when it has flushed. */
  get isEnding(): boolean {
    return this.#isEnding;
  }

  /** False if it is still there after `timeoutMs`. */
  async goneWithin(timeoutMs: number): Promise<boolean> {
    await this.#orAfter(timeoutMs, this.whenGone);
    return this.#isGone;
  }

  /**
   * Lets requests in flight finish, flushes and ends the process; kills it after `timeoutMs`, or after `flushingMsMax` if
   * only the flush is left by then. Resolves when it is gone.
   */
  async stop(timeoutMs: number, flushingMsMax = timeoutMs): Promise<void> {
    this.#tell({ type: 'stop' });
    if (await this.goneWithin(timeoutMs)) return;
    if (this.#isEnding && (await this.goneWithin(flushingMsMax - timeoutMs))) return;
    this.#child.kill('SIGKILL');
    // A process in the middle of a disk call that hangs dies only when the call returns; nobody waits for that.
    await this.goneWithin(QUERY_MS);
  }

  /** Null if the session does not answer. */
  facts(): Promise<SessionFacts | null> {
    if (!this.#isReady || this.#isGone) return Promise.resolve(null);
    const answer = new Promise<SessionFacts>((resolve) => this.#whenFacts.push(resolve));
    this.#tell({ type: 'query' });
    return this.#orAfter(QUERY_MS, answer);
  }

  async silentMs(): Promise<number | null> {
    return (await this.facts())?.silentMs ?? null;
  }

  async status(): Promise<SessionStatus> {
    const { peer, path, access } = this.request;
    const facts = await this.facts();
    return { peer: peer.address, path, access, pid: this.pid, ageMs: this.#ageMs(), facts };
  }

  #orAfter<Value>(delayMs: number, value: Promise<Value>): Promise<Value | null> {
    return new Promise((resolve) => {
      const timer = this.options.clock.after(delayMs, () => resolve(null));
      value
        .then((result) => {
          timer.cancel();
          resolve(result);
        })
        .catch(
          () => undefined /* neither facts nor an exit can fail; without an answer the time-out speaks */,
        );
    });
  }

  #spawn(): ChildProcess {
    const { receive, send } = this.halves;
    const isTls = receive instanceof TLSSocket || send instanceof TLSSocket;
    // Given as the first two descriptors they are set to blocking by libuv, which the engine's thread wants. The
    // plain text of a TLS connection goes through a pipe, for only this process has its keys.
    return spawn(process.execPath, [...NODE_FLAGS, this.options.program ?? PROGRAM], {
      stdio: isTls ? ['pipe', 'pipe', 'inherit', 'ipc'] : [receive, send, 'inherit', 'ipc'],
      detached: false,
    });
  }

  #connect(early: Buffer): void {
    const { request, mediaSizeBytes, sectorSizeBytes, features, keepAliveMs } = this.halves;
    const { diskTimeoutMs, receiveBufferBytes, sendBufferBytes, isShared, owesFlush } = this.options;
    const { flushNotes = null } = this.options;
    const config: SessionConfig = {
      type: 'config',
      path: request.path,
      access: request.access,
      peer: request.peer.address,
      mediaSizeBytes,
      sectorSizeBytes,
      featureBits: features.bits,
      early: early.toString('base64'),
      silentMsMax: keepAliveMs * KEEP_ALIVE_MISSES,
      diskTimeoutMs,
      receiveBufferBytes,
      sendBufferBytes,
      isShared,
      flushNotes,
      owesFlush,
    };
    this.#tell(config);
  }

  #fromSession(message: FromSession): void {
    switch (message.type) {
      case 'ready':
        this.#ready();
        break;
      case 'refused':
        this.options.log.warn({ ...this.#fields(), errno: message.errno }, `refused: ${message.message}`);
        this.#isRefused = true;
        refuseHalves(this.halves, errnoName(message.errno));
        this.#child.kill('SIGKILL');
        break;
      case 'log':
        this.options.log[message.level]({ ...this.#fields(), ...message.fields }, message.message);
        break;
      case 'facts':
        for (const resolve of this.#whenFacts.splice(0)) resolve(message.facts);
        break;
      case 'ending':
        this.#isEnding = true;
        break;
      case 'ended':
        this.#ended = message;
        break;
    }
  }

  /** The session can serve: its client may know, and our own copies of its connections are closed. */
  #ready(): void {
    this.#isReady = true;
    const [last, first] = lastAndFirst(this.halves);
    this.options.log.info(this.#fields(), 'attached');
    if (this.#child.stdin !== null && this.#child.stdout !== null) {
      last.write(this.halves.welcome);
      pump(this.halves.receive, this.#child.stdin);
      pump(this.#child.stdout, this.halves.send);
      this.#tell({ type: 'welcomed' });
      return;
    }
    first.destroy();
    last.write(this.halves.welcome, () => {
      last.destroy();
      // Not before: an answer of the session to requests that are there already would come before the welcome.
      this.#tell({ type: 'welcomed' });
    });
  }

  #gone(): void {
    if (this.#isGone) return;
    this.#isGone = true;
    if (this.#leavesDebt()) this.options.owe();
    // The TLS connections are ours to close; the send half closes itself when its last bytes are through.
    if (!this.#isReady && !this.#isRefused) this.halves.send.destroy();
    if (!this.#isRefused) this.halves.receive.destroy();
    for (const resolve of this.#whenFacts.splice(0)) resolve({ ...NO_FACTS });
    if (!this.#isReady) return;
    const ended = this.#ended;
    const durationMs = Math.round(this.#ageMs());
    if (ended === null) {
      const { exitCode, signalCode } = this.#child;
      this.options.log.error(
        { ...this.#fields(), durationMs, exitCode, signalCode },
        'detached: the session process died',
      );
      return;
    }
    const { requests, bytesRead, bytesWritten, errors } = ended.facts;
    const fields = { ...this.#fields(), requests, bytesRead, bytesWritten, errors, durationMs };
    const level = ended.isFlushed ? 'info' : 'error';
    this.options.log[level](
      fields,
      `detached: ${ended.reason}${ended.isFlushed ? '' : '; what it wrote last is not flushed'}`,
    );
  }

  /** A process that died without a word may have been in a flush, which took with it what the disk tells only once. */
  #leavesDebt(): boolean {
    const { owesFlush } = this.options;
    if (this.#ended !== null) return this.#ended.owesFlush;
    return this.#isReady ? this.request.access !== 'ro' : owesFlush;
  }

  #fields(): Record<string, string | number | boolean> {
    const { peer, path, access, hello } = this.request;
    const fields = {
      peer: peer.address,
      export: path,
      mode: access,
      extensions: hello !== null,
      // A daemon's own lines say `pid` of the daemon.
      sessionPid: this.pid,
    };
    return peer.certificateName === null ? fields : { ...fields, certificate: peer.certificateName };
  }

  #ageMs(): number {
    return this.options.clock.nowMs() - this.#startedAtMs;
  }

  #tell(message: ToSession): void {
    // A process that has just died can't be told anything; its exit says the rest.
    if (this.#child.connected) this.#child.send(message, () => undefined);
  }
}

const NO_FACTS: SessionFacts = { requests: 0, bytesRead: 0, bytesWritten: 0, errors: 0, silentMs: 0 };

/** What Node has read already. A real client sends nothing before the last initial packet, so this is mostly nothing. */
function takeEarly(receive: Socket): Buffer {
  const chunks: Buffer[] = [];
  for (;;) {
    const chunk: unknown = receive.read();
    if (!(chunk instanceof Buffer)) return Buffer.concat(chunks);
    chunks.push(chunk);
  }
}

/** Either side's end or error ends the other. */
function pump(from: NodeJS.ReadableStream, to: NodeJS.WritableStream): void {
  from.on('error', () => to.end());
  to.on('error', () => from.unpipe(to));
  from.pipe(to);
}
