import { type BlockDevice, DeviceError } from '../../device/block-device.js';
import type { Clock, Timer } from '../../device/clock.js';
import { LivedClock } from '../../device/lived-clock.js';
import { isFlushDenial } from '../../device/request.js';
import type { Features } from '../../protocol/capabilities.js';
import type { ErrnoName } from '../../protocol/errno.js';
import type { AccessMode } from '../../protocol/handshake.js';
import type { EchoedHeader, RequestHeader } from '../../protocol/request.js';
import type { SessionStream } from '../stream/byte-stream.js';
import { LINGER_MS } from '../stream/limits.js';
import { Replies } from '../stream/replies.js';
import { RequestReader } from '../stream/request-reader.js';
import { SlabMemory, type SlabPool } from '../stream/slabs.js';
import { FlushDebt } from '../flush-debt.js';
import { END_FLUSH_MS_MAX, KEEP_ALIVE_MISSES, SEND_TIMEOUT_MS, STUCK_MS_MAX } from './limits.js';
import { type SessionCounters, SessionRequests } from './requests.js';
import { GGATE_REQUEST_FORMAT } from './served-request.js';

/** Why a session ends; the words are those of sessions on files. */
export type DeviceSessionEnd =
  | 'detached'
  | 'cut short'
  | 'connection lost'
  | 'stopped'
  | 'client silent'
  | 'stuck in a request'
  | 'client takes no answers'
  | 'internal error';

export interface DeviceSessionOptions {
  /** Requests come in here. Paused; handshakes are over but for what the caller writes before start(). */
  readonly receive: SessionStream;
  /** Answers go out here. */
  readonly send: SessionStream;
  /** Stays the caller's: nothing here closes it. */
  readonly device: BlockDevice;
  readonly access: AccessMode;
  /** In force, as the capability packet said; none without a hello. */
  readonly features: Features;
  /** As the capability packet said; 0 for none. */
  readonly keepAliveMs: number;
  /** Requests that the device has for this long fail with ETIMEDOUT, and all others until it is done with them. */
  readonly deviceTimeoutMs: number;
  /** What sessions on this device leave to each other; left out for a session that is the only one. */
  readonly debt?: FlushDebt;
  readonly slabs: SlabPool;
  readonly clock: Clock;
  /** Calls back when this turn of the event loop is over, when answers are sent. setImmediate if not given. */
  readonly afterTurn?: (run: () => void) => void;
  readonly events: DeviceSessionEvents;
}

export interface DeviceSessionEvents {
  /** The client asked for what it may not. It has been answered. */
  refused(header: RequestHeader, errno: ErrnoName): void;
  /** The device failed a request. It has been answered. */
  failed(error: DeviceError): void;
  /** This session ends because of one, the others go on. */
  bug(error: unknown): void;
  /** It serves nobody any more; requests under way are finished. */
  ending(reason: DeviceSessionEnd): void;
}

/** What is left to say when a session is over. */
export interface DeviceSessionResult {
  readonly reason: DeviceSessionEnd;
  /** Whether all that it wrote is on stable storage, as far as the device can say. */
  readonly isFlushed: boolean;
}

/**
 * A ggate session on any block device, on the event loop: for devices that are in this process, as a mirror is. Requests
 * are judged and answered as those of sessions on files (docs/ggate-extensions.md); what a client sends or leaves undone
 * concerns only its own session.
 */
export class DeviceSession {
  /** Resolves when the device has nothing of this session any more, and what it wrote is flushed. Never rejects. */
  readonly ended: Promise<DeviceSessionResult>;
  readonly #clock: LivedClock;
  readonly #memory: SlabMemory;
  readonly #replies: Replies;
  readonly #requests: SessionRequests;
  readonly #debt: FlushDebt;
  readonly #reader: RequestReader<EchoedHeader, ErrnoName>;
  #isReaderWaiting = false;
  #isPaused = false;
  #hasClientEnded = false;
  /** It did so while it had something under way: who ends a session waits for that, and a program that is killed does not. */
  #hasClientGone = false;
  #ending: DeviceSessionEnd | null = null;
  #isFinishing = false;
  #isClosed = false;
  #linger: Timer | null = null;
  /** When bytes came last, or when we began to look for them again. */
  #heardAtMs: number;
  /** When the client took an answer last, or had none to take. */
  #takenAtMs: number;
  #resolveEnded: (result: DeviceSessionResult) => void = () => undefined;

  constructor(private readonly options: DeviceSessionOptions) {
    const { send, device, access, features, events, afterTurn } = options;
    const clock = new LivedClock(options.clock, () => this.#look());
    this.#clock = clock;
    this.ended = new Promise((resolve) => (this.#resolveEnded = resolve));
    this.#memory = new SlabMemory(options.slabs);
    this.#replies = new Replies(send, this.#memory, (count, bytes) => this.#sent(count, bytes));
    this.#debt = options.debt ?? new FlushDebt();
    this.#requests = new SessionRequests({
      device,
      debt: this.#debt,
      terms: {
        mediaSizeBytes: device.mediaSizeBytes,
        sectorSizeBytes: device.sectorSizeBytes,
        canRead: access !== 'wo',
        canWrite: access !== 'ro',
        features,
      },
      memory: this.#memory,
      replies: this.#replies,
      clock,
      afterTurn: afterTurn ?? ((run) => void setImmediate(run)),
      refused: (header, errno) => events.refused(header, errno),
      failed: (error) => events.failed(error),
      done: () => this.#moveOn(),
    });
    this.#reader = new RequestReader(GGATE_REQUEST_FORMAT, this.#requests, this.#memory);
    this.#heardAtMs = clock.nowMs();
    this.#takenAtMs = this.#heardAtMs;
  }

  get counters(): Readonly<SessionCounters> {
    return this.#requests.counters;
  }

  /** For how long nothing has come from the client. */
  get silentMs(): number {
    return this.#clock.nowMs() - this.#heardAtMs;
  }

  /** Begins to serve. To be called once. */
  start(): void {
    const { receive, send } = this.options;
    for (const stream of [receive, send]) stream.on('error', () => undefined /* 'close' follows */);
    send.on('close', () => this.#closed());
    // A client may end this half and still take its answers.
    receive.on('close', () => {
      if (!this.#hasClientEnded) this.#closed();
    });
    receive.on('data', (bytes) => this.#came(bytes));
    receive.on('end', () => {
      this.#hasClientGone = !this.#requests.isIdle;
      this.#clientEnded();
    });
    // Nobody says anything here; what comes all the same is of no interest, but the end is.
    send.on('data', () => undefined);
    send.resume();
    receive.resume();
    // The client may have gone while we were busy letting it in.
    if (receive.destroyed || send.destroyed) this.#closed();
  }

  /** Takes no more requests, finishes and answers those that it has, flushes and closes. See `ended`. */
  stop(reason: DeviceSessionEnd = 'stopped'): void {
    this.#end(reason);
  }

  /** Closes at once; the device finishes what it has. */
  drop(reason: DeviceSessionEnd): void {
    this.#end(reason);
    this.#closed();
  }

  #came(bytes: Buffer): void {
    this.#heardAtMs = this.#clock.nowMs();
    if (this.#ending === null) this.#read(() => this.#reader.push(bytes));
  }

  #read(step: () => boolean): void {
    try {
      this.#isReaderWaiting = !step();
      this.#requests.delivered();
    } catch (error) {
      this.options.events.bug(error);
      this.drop('internal error');
      return;
    }
    if (this.#isPaused !== this.#isReaderWaiting) {
      this.#isPaused = this.#isReaderWaiting;
      if (this.#isPaused) this.options.receive.pause();
      else this.options.receive.resume();
    }
    if (!this.#isReaderWaiting && this.#hasClientEnded) this.#clientEnded();
  }

  #sent(count: number, requestBytes: number): void {
    this.#takenAtMs = this.#clock.nowMs();
    this.#requests.sent(count, requestBytes);
    this.#moveOn();
  }

  /** Something is out of the way: an answer is sent, or the device is done with a request. */
  #moveOn(): void {
    if (this.#isReaderWaiting && !this.#requests.isFull && this.#ending === null) {
      this.#isReaderWaiting = false;
      this.#heardAtMs = this.#clock.nowMs();
      this.#read(() => this.#reader.resume());
    }
    if (this.#ending !== null) this.#finishWhenIdle();
  }

  /** What has come whole is served first. */
  #clientEnded(): void {
    this.#hasClientEnded = true;
    if (!this.#isReaderWaiting) this.#end(this.#reader.isBetweenRequests ? 'detached' : 'cut short');
  }

  #end(reason: DeviceSessionEnd): void {
    if (this.#ending !== null) return;
    this.#ending = reason;
    this.#reader.close();
    this.#isReaderWaiting = false;
    this.options.events.ending(reason);
    // What still comes is read, so that its end is seen, and forgotten.
    this.options.receive.resume();
    this.#finishWhenIdle();
  }

  #finishWhenIdle(): void {
    if (this.#ending === null || this.#isFinishing) return;
    if (!this.#requests.isIdle || !this.#requests.isDeviceIdle) return;
    this.#isFinishing = true;
    // Of a client that did not end its session nobody knows whether it has read that.
    const { flushError } = this.#requests;
    const isTold = this.#ending === 'detached' && !this.#hasClientGone;
    if (flushError !== null && !isTold) this.#debt.owe(flushError);
    const { device, access } = this.options;
    const isCovered = access === 'ro' || !this.#requests.isDirty;
    if (isCovered || !device.can.flush) {
      this.#finish(isCovered);
      return;
    }
    // The client need not wait for a device that hangs; who waits for `ended` does.
    const timer = this.#clock.after(END_FLUSH_MS_MAX, () => this.#hangUp());
    const done = (error: DeviceError | null): void => {
      timer.cancel();
      if (error !== null) {
        if (!isFlushDenial(error)) this.#debt.owe(error);
        this.options.events.failed(error);
      }
      this.#finish(error === null);
    };
    device.start({ op: 'flush', offsetBytes: 0, lengthBytes: 0, buffer: null, bufferAt: 0, done });
  }

  #finish(isFlushed: boolean): void {
    this.#hangUp();
    this.#resolveEnded({ reason: this.#ending ?? 'stopped', isFlushed });
  }

  /** Every request is answered. */
  #hangUp(): void {
    if (this.#isClosed || this.#linger !== null) return;
    const { receive, send } = this.options;
    this.#linger = this.#clock.after(LINGER_MS, () => this.#closed());
    receive.end();
    send.end();
  }

  /** One half is closed, or both are to be, so there is nobody to answer. */
  #closed(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#clock.stop();
    this.#linger?.cancel();
    const { receive, send } = this.options;
    this.#end('connection lost');
    receive.destroy();
    send.destroy();
    this.#replies.close();
    this.#memory.close();
    this.#finishWhenIdle();
  }

  /** Every half second, so every limit is kept to within that. What this program stood still for does not count. */
  #look(): void {
    const { keepAliveMs, deviceTimeoutMs, device } = this.options;
    const nowMs = this.#clock.nowMs();
    const isPast = (sinceMs: number, limitMs: number): boolean => nowMs - sinceMs >= limitMs;
    if (this.#requests.waitedMs() >= deviceTimeoutMs) {
      const message = `${device.name} is silent for ${deviceTimeoutMs / 1000} s; its requests fail until it is not`;
      this.#requests.giveUp(new DeviceError('DEVICE_TIMEOUT', 'ETIMEDOUT', message));
    }
    if (this.#replies.isEmpty) this.#takenAtMs = nowMs;
    else if (isPast(this.#takenAtMs, SEND_TIMEOUT_MS)) this.drop('client takes no answers');
    // A client that we do not listen to is not silent.
    if (this.#isReaderWaiting || this.#ending !== null) return;
    if (!this.#reader.isBetweenRequests && isPast(this.#heardAtMs, STUCK_MS_MAX))
      this.#end('stuck in a request');
    else if (keepAliveMs > 0 && isPast(this.#heardAtMs, KEEP_ALIVE_MISSES * keepAliveMs))
      this.#end('client silent');
  }
}
