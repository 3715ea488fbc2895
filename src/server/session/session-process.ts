import { read, write } from 'node:fs';
import { Features } from '../../protocol/capabilities.js';
import { assert } from '../../protocol/errors.js';
import type { SessionTerms } from '../../protocol/request.js';
import { DeviceError } from '../../device/block-device.js';
import { delay, systemClock } from '../../device/clock.js';
import { AnswerQueue } from './answers.js';
import { FlushDebt } from '../flush-debt.js';
import type { EngineThreadData } from './engine-thread.js';
import { LAST_FLUSH_MS_MAX, lastFlush } from './last-flush.js';
import { SessionMemory, PHASE } from './memory.js';
import type {
  FromEngine,
  FromSession,
  SessionConfig,
  SessionEnd,
  SessionFacts,
  ToSession,
} from './messages.js';
import { type ServedFile, openServed } from './served-file.js';
import { startSessionWorker } from './session-worker.js';
import { SlowRequests } from './slow-requests.js';
import { Takeover } from './takeover.js';
import { Watchdog } from './watchdog.js';

/** ggated's receive time-out (ggate protocol spec, section 1). */
const STUCK_MS_MAX = 8000;
const SEND_TIMEOUT_MS = 60_000;
const HALT_POLL_MS = 5;
/** How long a session that ends waits for its client to take the last answers. */
const ANSWERS_MS_MAX = 1000;

const RECEIVE_FD = 0;
const SEND_FD = 1;

const tell = (message: FromSession): void => {
  process.send?.(message);
};

function writeAll(bytes: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    const step = (at: number): void => {
      if (at === bytes.length) {
        resolve();
        return;
      }
      write(SEND_FD, bytes, at, bytes.length - at, null, (error, writtenBytes) => {
        if (error !== null) reject(error);
        else step(at + writtenBytes);
      });
    };
    step(0);
  });
}

const readSome = (into: Buffer): Promise<number> =>
  new Promise((resolve, reject) => {
    read(RECEIVE_FD, into, 0, into.length, null, (error, readBytes) => {
      if (error === null) resolve(readBytes);
      else reject(error);
    });
  });

/**
 * The main thread of a session process: it watches the engine's thread, does what takes long, and speaks with the
 * daemon. A process a session, as ggated has it: the disk of one can't hold up another, and ending it ends its writes.
 */
class SessionProcess {
  readonly #memory = SessionMemory.create();
  readonly #answers: AnswerQueue;
  readonly #slow: SlowRequests;
  readonly #debt = new FlushDebt();
  readonly #watchdog: Watchdog;
  readonly #terms: SessionTerms;
  #isEnding = false;
  #isTakenOver = false;

  constructor(
    private readonly config: SessionConfig,
    private readonly file: ServedFile,
  ) {
    const memory = this.#memory;
    const { access, mediaSizeBytes, sectorSizeBytes, featureBits, diskTimeoutMs, silentMsMax } = config;
    const features = new Features(featureBits);
    this.#terms = {
      mediaSizeBytes,
      sectorSizeBytes,
      canRead: access !== 'wo',
      canWrite: access !== 'ro',
      features,
    };
    const early = Buffer.from(config.early, 'base64');
    assert(early.length <= memory.input.length, 'session: more early bytes than the buffer holds');
    early.copy(memory.input);
    memory.have = early.length;
    if (config.owesFlush || file.flushNote?.isInDoubt === true) {
      const message = `${config.path}: a flush failed before, and no client was told`;
      this.#debt.owe(new DeviceError('DEVICE_IO', 'EIO', message));
    }
    this.#answers = new AnswerQueue(memory, writeAll, systemClock, () => this.end('connection lost'));
    this.#watchdog = new Watchdog(
      memory,
      { diskTimeoutMs, silentMsMax, stuckMsMax: STUCK_MS_MAX, sendTimeoutMs: SEND_TIMEOUT_MS },
      { diskHangs: (silentMs) => this.#diskHangs(silentMs), end: (reason) => this.end(reason) },
      systemClock,
    );
    this.#slow = new SlowRequests({
      memory,
      operations: file.operations,
      debt: this.#debt,
      answer: (bytes) => this.#answers.send(bytes),
      failed: (request, errno, message) =>
        this.#log(
          'error',
          { errno, command: request.command, offset: request.offsetBytes },
          `request failed: ${message}`,
        ),
      clock: this.#watchdog.clock,
      timeoutMs: diskTimeoutMs,
    });
    this.#startEngine();
  }

  facts(): SessionFacts {
    return { ...this.#memory.counters(), silentMs: this.#watchdog.silentMs() };
  }

  /** The client knows that it is let in. */
  serve(): void {
    this.#memory.welcome();
  }

  /** No new request is begun from now on; the one under way is finished and answered. */
  stop(reason: SessionEnd): void {
    this.#memory.requestStop();
    this.#haltWhenReading(reason);
  }

  /**
   * An engine that went to sleep in a read before it could see the request has the wire taken from under it, when its
   * answers are sent.
   */
  #haltWhenReading(reason: SessionEnd): void {
    if (this.#isEnding) return;
    const isDone = !this.#memory.isSending && this.#memory.move(PHASE.reading, PHASE.halted);
    if (this.#isTakenOver || isDone) this.end(reason);
    else systemClock.after(HALT_POLL_MS, () => this.#haltWhenReading(reason));
  }

  /** Flushes, reports and ends the process. Does nothing the second time. */
  end(reason: SessionEnd): void {
    if (this.#isEnding) return;
    this.#isEnding = true;
    tell({ type: 'ending' });
    // Whatever the engine does next, it starts no other request.
    this.#memory.requestStop();
    this.#memory.move(PHASE.reading, PHASE.halted);
    this.#finish(reason).catch((error: unknown) => {
      this.#log('error', {}, `session: ${String(error)}`);
      exitNow();
    });
  }

  async #finish(reason: SessionEnd): Promise<void> {
    const outcome = await lastFlush(reason, {
      canWrite: this.#terms.canWrite,
      memory: this.#memory,
      slow: this.#slow,
      debt: this.#debt,
      flush: () => this.file.operations.flush(),
      failed: (message) => this.#log('error', {}, message),
      clock: systemClock,
    });
    // Otherwise whoever opens the file next has to know of it, also if the daemon is killed before its next session.
    if (!outcome.owesFlush) this.file.flushNote?.settle();
    this.file.flushNote?.close();
    await Promise.race([this.#whenSent(), delay(systemClock, ANSWERS_MS_MAX)]);
    this.#watchdog.stop();
    const ended: FromSession = { type: 'ended', reason, facts: this.facts(), ...outcome };
    if (process.connected && process.send !== undefined) process.send(ended, exitNow);
    else exitNow();
  }

  async #whenSent(): Promise<void> {
    await this.#answers.whenIdle();
    while (this.#memory.isSending) await delay(systemClock, HALT_POLL_MS);
  }

  #startEngine(): void {
    const { config, file } = this;
    const data: EngineThreadData = {
      blocks: this.#memory.blocks,
      fd: file.fd,
      name: config.path,
      mediaSizeBytes: config.mediaSizeBytes,
      sectorSizeBytes: config.sectorSizeBytes,
      canRead: this.#terms.canRead,
      canWrite: this.#terms.canWrite,
      featureBits: config.featureBits,
    };
    const worker = startSessionWorker('./engine-thread.js', data, (what) => {
      this.#log('error', {}, `session: ${what}`);
      this.end('internal error');
    });
    worker.on('message', (message: FromEngine) => this.#fromEngine(message));
  }

  /** All goes without it, so it may fail to come; but not when it may have answers. */
  #startSender(): void {
    const worker = startSessionWorker('./send-thread.js', this.#memory.blocks, (what) => {
      this.#log('error', {}, `session: ${what}`);
      if (this.#memory.isSenderReady) this.end('internal error');
    });
    worker.once('message', () => this.end('connection lost'));
  }

  #fromEngine(message: FromEngine): void {
    switch (message.type) {
      case 'ready':
        tell({ type: 'ready' });
        break;
      case 'slow':
        this.#slow.accept(Buffer.from(message.header));
        break;
      case 'wants a sender':
        this.#startSender();
        break;
      case 'over':
        this.end(message.reason);
        break;
      case 'refused': {
        const { errno, what, untold } = message;
        this.#log('warn', { errno, untold }, `refused a request of the client: ${what}`);
        break;
      }
      case 'failed': {
        const { errno, what, untold } = message;
        this.#log('error', { errno, untold }, `request failed: ${what}: ${message.message}`);
        break;
      }
    }
  }

  #diskHangs(silentMs: number): void {
    const takeover = Takeover.begin(this.#memory, this.#terms, (bytes) => this.#answers.send(bytes));
    if (takeover === null) return;
    this.#isTakenOver = true;
    const seconds = Math.round(silentMs / 1000);
    this.#log(
      'error',
      { errno: 'ETIMEDOUT' },
      `the disk does not answer since ${seconds} s; its requests fail until it does`,
    );
    takeover.run(readSome).then(
      (end) => {
        this.#isTakenOver = false;
        if (end === 'client gone') this.end('detached');
        else this.#log('warn', {}, 'the disk answers again');
      },
      (error: unknown) => {
        this.#log('error', {}, `session: ${String(error)}`);
        this.end('internal error');
      },
    );
  }

  #log(level: 'warn' | 'error', fields: Record<string, string | number>, message: string): void {
    tell({ type: 'log', level, fields, message });
  }
}

/** SIGKILL, because the engine may sleep in a system call, and an orderly exit would wait for its thread for ever. */
function exitNow(): void {
  process.kill(process.pid, 'SIGKILL');
}

let session: SessionProcess | null = null;

async function start(config: SessionConfig): Promise<void> {
  process.title = `ggmirror: session of ${config.peer} on ${config.path}`;
  try {
    session = new SessionProcess(config, await openServed(config));
  } catch (error) {
    if (!(error instanceof DeviceError)) throw error;
    tell({ type: 'refused', errno: error.errno, message: error.message });
  }
}

process.on('message', (message: ToSession) => {
  switch (message.type) {
    case 'config':
      start(message).catch((error: unknown) => {
        tell({ type: 'refused', errno: 'EIO', message: String(error) });
      });
      break;
    case 'welcomed':
      session?.serve();
      break;
    case 'stop':
      session?.stop('stopped');
      break;
    case 'query':
      if (session !== null) tell({ type: 'facts', facts: session.facts() });
      break;
  }
});

// Without the daemon nobody knows of this session; finish what is in flight, so that the next daemon finds the file free.
process.on('disconnect', () => {
  if (session === null) exitNow();
  else session.stop('daemon gone');
  systemClock.after(LAST_FLUSH_MS_MAX + 2000, exitNow);
});

// Signals to the process group (a ^C in the daemon's terminal) are the daemon's to act on.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => undefined);
