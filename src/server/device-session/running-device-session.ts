import type { BlockDevice } from '../../device/block-device.js';
import type { Clock } from '../../device/clock.js';
import type { AccessMode } from '../../protocol/handshake.js';
import type { AttachRequest, PairedHalves } from '../halves.js';
import { lastAndFirst } from '../refuse-halves.js';
import type { QuietLog, ServerLog } from '../server-log.js';
import type { SupervisedSession } from '../session-supervisor.js';
import type { SlabPool } from '../stream/slabs.js';
import { DeviceSession, type DeviceSessionEvents } from './device-session.js';
import type { FlushDebt } from '../flush-debt.js';
import type { SessionCounters } from './requests.js';

export interface RunningDeviceSessionOptions {
  readonly device: BlockDevice;
  /** See DeviceSessionOptions. */
  readonly deviceTimeoutMs: number;
  /** Of the device. */
  readonly debt: FlushDebt;
  /** See DeviceSessionOptions. */
  readonly afterTurn?: (run: () => void) => void;
  readonly slabs: SlabPool;
  readonly clock: Clock;
  readonly log: ServerLog;
  /** For what a client or a device can cause without end. */
  readonly quietLog: QuietLog;
  readonly pid: number;
}

/** What is told of a session. */
export interface DeviceSessionStatus extends Readonly<SessionCounters> {
  readonly peer: string;
  readonly access: AccessMode;
  readonly ageMs: number;
  readonly silentMs: number;
}

/** A client's session on a device of this process, from its welcome to its end, as the log tells it. */
export class RunningDeviceSession implements SupervisedSession {
  readonly request: AttachRequest;
  readonly whenStarted: Promise<void> = Promise.resolve();
  readonly whenGone: Promise<void>;
  readonly #session: DeviceSession;
  readonly #startedAtMs: number;
  #isEnding = false;
  #isGone = false;

  constructor(
    halves: PairedHalves,
    readonly identity: string,
    private readonly options: RunningDeviceSessionOptions,
  ) {
    const { device, deviceTimeoutMs, debt, afterTurn, slabs, clock, log } = options;
    const { receive, send, features, keepAliveMs } = halves;
    this.request = halves.request;
    this.#startedAtMs = clock.nowMs();
    this.#session = new DeviceSession({
      ...{ receive, send, device, features, keepAliveMs, deviceTimeoutMs, slabs, clock },
      // Who only reads waits for no flush.
      ...(halves.request.access !== 'ro' && { debt }),
      ...(afterTurn !== undefined && { afterTurn }),
      access: halves.request.access,
      events: this.#events(),
    });
    this.whenGone = this.#session.ended.then(({ reason, isFlushed }) => this.#gone(reason, isFlushed));
    log.info(this.#fields(), 'attached');
    lastAndFirst(halves)[0].write(halves.welcome);
    this.#session.start();
  }

  get pid(): number {
    return this.options.pid;
  }

  get isGone(): boolean {
    return this.#isGone;
  }

  get isEnding(): boolean {
    return this.#isEnding;
  }

  async goneWithin(timeoutMs: number): Promise<boolean> {
    await new Promise<void>((resolve) => {
      const timer = this.options.clock.after(timeoutMs, resolve);
      this.whenGone.finally(() => timer.cancel()).then(resolve, resolve);
    });
    return this.#isGone;
  }

  /** After `timeoutMs` the client is cut off, and the device has as long again to be done. */
  async stop(timeoutMs: number): Promise<void> {
    this.#session.stop();
    if (await this.goneWithin(timeoutMs)) return;
    this.#session.drop('stopped');
    await this.goneWithin(timeoutMs);
  }

  silentMs(): Promise<number> {
    return Promise.resolve(this.#session.silentMs);
  }

  status(): DeviceSessionStatus {
    const { peer, access } = this.request;
    const { silentMs, counters } = this.#session;
    return { peer: peer.address, access, ageMs: this.#ageMs(), silentMs, ...counters };
  }

  #events(): DeviceSessionEvents {
    const { log, quietLog } = this.options;
    const note = (what: string, fields: Readonly<Record<string, unknown>>, message: string): void =>
      quietLog.write(`${what} ${this.request.path}`, 'warn', { ...this.#fields(), ...fields }, message);
    return {
      refused: ({ command, offsetBytes, lengthBytes }, errno) =>
        note('refused', { command, offsetBytes, lengthBytes, errno }, 'refused a request of the client'),
      failed: ({ errno, message }) => note('failed', { errno }, `request failed: ${message}`),
      ending: () => (this.#isEnding = true),
      bug: (err) =>
        log.error({ ...this.#fields(), err }, 'a session was ended because of a bug, please report it'),
    };
  }

  #gone(reason: string, isFlushed: boolean): void {
    this.#isGone = true;
    const fields = { ...this.#fields(), ...this.#session.counters, durationMs: Math.round(this.#ageMs()) };
    const rest = isFlushed ? '' : '; what it wrote last is not flushed';
    this.options.log[isFlushed ? 'info' : 'error'](fields, `detached: ${reason}${rest}`);
  }

  #fields(): Record<string, unknown> {
    const { peer, path, access, hello } = this.request;
    const fields = { peer: peer.address, export: path, mode: access, extensions: hello !== null };
    return peer.certificateName === null ? fields : { ...fields, certificate: peer.certificateName };
  }

  #ageMs(): number {
    return this.options.clock.nowMs() - this.#startedAtMs;
  }
}
