import { DeviceError, type BlockDevice, type BlockIo, type Capabilities } from '../device/block-device.js';
import { assertStartable } from '../device/check-io.js';
import { doneWithin, type Timer } from '../device/clock.js';
import { FEATURE, Features } from '../protocol/capabilities.js';
import { COMMAND } from '../protocol/request.js';
import { COMMANDS, capabilitiesOf, isInForce } from './commands.js';
import type { Connection } from './connection.js';
import { Dialer } from './dialer.js';
import { asLossError, flushLoss, notConnected, unsupported } from './errors.js';
import { KeepAlive } from './keep-alive.js';
import { CLOSE_DRAIN_MS, WINDOW_BYTES_MAX, WINDOW_REQUESTS_MAX } from './limits.js';
import type { RemoteEvents, RemoteOptions, SessionInfo } from './options.js';
import { Pipeline, type RemoteStats } from './pipeline.js';
import { Reconnector } from './reconnect.js';
import { splitIo } from './split.js';
import { nextState, type RemoteEvent, type RemoteState } from './states.js';

/**
 * Connects to an export and rejects if that fails: DeviceError with DEVICE_REFUSED and the server's errno,
 * DEVICE_TIMEOUT, or DEVICE_OPEN (no such host, nobody listens, not a ggate server). Nothing is tried twice here; once
 * it is open, the device reconnects by itself.
 */
export async function openRemote(options: RemoteOptions): Promise<RemoteDevice> {
  const dialer = new Dialer(options);
  const connection = await dialer.connect().connected;
  // A probe that learned nothing is no reason not to open: without FLUSH the device is what it is by default.
  const knowsFlush = await dialer.knowsFlush(connection).catch(() => false);
  return new RemoteDevice(dialer, connection, knowsFlush);
}

/**
 * A remote export. Requests longer than the wire's are split and done once. Without a hello only read and write go out,
 * and a flush where a probe was asked for and found it. A flush fails once with DEVICE_LOST when acknowledged writes
 * that it should cover may have been lost with the server's host: when the connection before ended and the server's
 * boot id is another since, or is not known. With the same boot id they are in the host's memory still, and a good
 * flush means what it says.
 *
 * Invariants: #connection is not null exactly in ATTACHED; in FAILING, CHANGED and CLOSED nothing waits.
 */
export class RemoteDevice implements BlockDevice {
  readonly name: string;
  readonly mediaSizeBytes: number;
  readonly sectorSizeBytes: number;
  readonly can: Capabilities;
  readonly #dialer: Dialer;
  readonly #events: RemoteEvents;
  readonly #pipeline: Pipeline;
  readonly #keepAlive: KeepAlive;
  readonly #reconnector: Reconnector;
  #state: RemoteState = 'RECONNECTING';
  #connection: Connection | null = null;
  #session: SessionInfo;
  #features = Features.none;
  #knowsFlush = false;
  /** Why requests fail, in FAILING, CHANGED and CLOSED. */
  #failure: DeviceError | null = null;
  #lastLoss: DeviceError | null = null;
  #giveUpTimer: Timer | null = null;
  #reconnects = 0;
  /** The session is not to end in order: a flush that failed in it counts as not told, and the next one's fails. */
  isToBeToldAgain = false;
  #closing: Promise<void> | null = null;
  #whenIdle: (() => void) | null = null;

  /** Use openRemote. */
  constructor(dialer: Dialer, connection: Connection, knowsFlush: boolean) {
    const { options, clock, random, name } = dialer;
    this.#dialer = dialer;
    this.#events = options.events ?? {};
    this.name = name;
    this.mediaSizeBytes = connection.terms.mediaSizeBytes;
    this.sectorSizeBytes = connection.terms.sectorSizeBytes;
    this.can = capabilitiesOf(options.access, connection.terms.hello, knowsFlush);
    this.#pipeline = new Pipeline(
      {
        name,
        clock,
        mediaSizeBytes: this.mediaSizeBytes,
        requestsMax: options.window?.requestsMax ?? WINDOW_REQUESTS_MAX,
        bytesMax: options.window?.bytesMax ?? WINDOW_BYTES_MAX,
        requestTimeoutMs: options.requestTimeoutMs ?? 30_000,
      },
      {
        broken: (error) => this.#lost(this.#connection, error),
        progressed: () => this.#progressed(),
        idle: () => this.#whenIdle?.(),
      },
    );
    this.#keepAlive = new KeepAlive(this.#pipeline, clock);
    this.#reconnector = new Reconnector({
      firstMs: options.backoff?.firstMs ?? 200,
      maxMs: options.backoff?.maxMs ?? 5_000,
      clock,
      random,
      events: this.#events,
      attempt: () => dialer.reconnect(),
      accept: (next) => this.#accept(next),
    });
    this.#session = dialer.describe(connection);
    this.#attach(connection, knowsFlush);
  }

  get isConnected(): boolean {
    return this.#connection !== null;
  }

  /** Of the present connection, or of the last one. */
  get session(): SessionInfo {
    return this.#session;
  }

  /** Counts requests of the wire: a long one counts once for each of its pieces. */
  get stats(): Readonly<RemoteStats> & { readonly reconnects: number } {
    return { ...this.#pipeline.stats, reconnects: this.#reconnects };
  }

  start(io: BlockIo): void {
    assertStartable(this, io);
    const refusal = this.#refusalOf(io);
    if (refusal !== null) this.#pipeline.refuse(io, refusal);
    else if (io.lengthBytes <= COMMANDS[io.op].bytesMax) this.#pipeline.start(io);
    else for (const piece of splitIo(io, COMMANDS[io.op].bytesMax)) this.#pipeline.start(piece);
  }

  /**
   * Measures `count` round trips, one after the other, in milliseconds: a ping where the server knows it, else a
   * transfer of nothing at offset 0. Rejects with a DeviceError when there is no connection.
   */
  async roundTripMs(count: number): Promise<number[]> {
    const command = this.#features.has(FEATURE.keepAlive)
      ? COMMAND.ping
      : this.can.read
        ? COMMAND.read
        : COMMAND.write;
    const timesMs: number[] = [];
    while (timesMs.length < count) {
      const fromMs = this.#dialer.clock.nowMs();
      await new Promise<void>((resolve, reject) => {
        const done = (error: DeviceError | null): void => {
          // An errno is an answer, too.
          if (error === null || error.code === 'DEVICE_IO') resolve();
          else reject(error);
        };
        if (!this.#pipeline.startEmpty(command, 0, { done })) reject(notConnected(this.name, this.#lastLoss));
      });
      timesMs.push(this.#dialer.clock.nowMs() - fromMs);
    }
    return timesMs;
  }

  /**
   * Waits for what was started, for ten seconds at most; what is not done by then fails with DEVICE_CLOSED. Then ends
   * the session where no request is cut. It flushes nothing.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.#drained();
    await this.#end();
  }

  /** Closes at once: what was started fails with DEVICE_CLOSED now, and no caller's buffer is touched afterwards. */
  abandon(): void {
    // A process that is over before an end in order is through looks like one that was killed.
    const ended = this.#end().catch(() => undefined /* it was given up */);
    this.#closing ??= ended;
    this.#whenIdle?.();
  }

  async #end(): Promise<void> {
    if (this.#state === 'CLOSED') return;
    const error = new DeviceError('DEVICE_CLOSED', 'EBADF', `${this.name}: closed`);
    const connection = this.#connection;
    const endsInOrder = this.#pipeline.isIdle && !this.isToBeToldAgain;
    this.#failure = error;
    this.#move('closed');
    this.#reconnector.stop();
    this.#keepAlive.end();
    this.#endGiveUp();
    this.#connection = null;
    if (!endsInOrder) connection?.reset();
    this.#pipeline.detach(error);
    this.#pipeline.fail(error, () => true);
    this.#events.closed?.();
    if (endsInOrder) await connection?.end();
  }

  /** Resolves when nothing waits, or after a bound. */
  async #drained(): Promise<void> {
    if (this.#pipeline.isIdle) return;
    const idle = new Promise<void>((resolve) => (this.#whenIdle = resolve));
    await doneWithin(idle, CLOSE_DRAIN_MS, this.#dialer.clock);
  }

  #move(event: RemoteEvent): void {
    this.#state = nextState(this.#state, event);
  }

  #attach(connection: Connection, knowsFlush: boolean): void {
    const { hello } = connection.terms;
    const session = this.#dialer.describe(connection);
    if (this.#session.bootId === null || this.#session.bootId !== session.bootId)
      this.#mayHaveRestarted(session);
    this.#session = session;
    this.#features = hello?.features ?? Features.none;
    this.#knowsFlush = knowsFlush;
    this.#failure = null;
    for (const op of ['flush', 'trim', 'write-zeroes', 'checksum'] as const) {
      if (isInForce(op, this.#features, knowsFlush)) continue;
      this.#pipeline.fail(unsupported(this.name, op), (command) => command === COMMANDS[op].command);
    }
    this.#connection = connection;
    this.#move('attached');
    const lost = (error: Error | null): void => this.#lost(connection, error);
    connection.attach({ answers: (bytes, length) => this.#pipeline.answers(bytes, length), lost });
    this.#pipeline.attach(connection, hello?.requestsMax ?? Infinity);
    this.#keepAlive.begin(this.#features.has(FEATURE.keepAlive) ? (hello?.keepAliveMs ?? 0) : 0);
    this.#events.connected?.(session);
  }

  /** Acknowledged writes may be gone with the memory of the server's host; those who wait for a flush must hear it. */
  #mayHaveRestarted(session: SessionInfo): void {
    const { durability } = this.#pipeline;
    if (this.#lastLoss === null) return; // the first one
    const unflushed = durability.hasUnflushed;
    durability.restarted();
    const isFlush = (command: number): boolean => command === COMMAND.flush;
    if (
      durability.hasUnreportedLoss &&
      this.#pipeline.fail(flushLoss(this.name, this.#lastLoss), isFlush) > 0
    )
      durability.reported();
    const certain = this.#session.bootId !== null && session.bootId !== null;
    this.#events.restarted?.({ certain, unflushed });
  }

  #lost(connection: Connection | null, error: Error | null): void {
    if (connection === null || connection !== this.#connection) return;
    const reason = asLossError(this.name, error);
    connection.reset();
    this.#connection = null;
    this.#lastLoss = reason;
    this.#move('lost');
    this.#keepAlive.end();
    this.#dialer.forgetServer();
    this.#pipeline.detach(reason);
    this.#events.lost?.(reason);
    const { onConnectionLost = 'replay', giveUpMs = null } = this.#dialer.options;
    if (onConnectionLost === 'fail') this.#fail(reason);
    else if (giveUpMs !== null && this.#giveUpTimer === null) {
      this.#giveUpTimer = this.#dialer.clock.after(giveUpMs, () => this.#giveUp());
    }
    this.#reconnector.begin();
  }

  /** Everything that waits ends with `reason`, and new requests with a word about it. */
  #fail(reason: DeviceError): void {
    this.#failure = notConnected(this.name, this.#lastLoss);
    this.#move('gaveUp');
    this.#pipeline.fail(reason, () => true);
  }

  #giveUp(): void {
    this.#giveUpTimer = null;
    const { giveUpMs = null } = this.#dialer.options;
    const code = this.#lastLoss?.code === 'DEVICE_TIMEOUT' ? 'DEVICE_TIMEOUT' : 'DEVICE_LOST';
    const message = `${this.name}: no answer since the connection was lost ${String(giveUpMs)} ms ago; check the server`;
    const reason = new DeviceError(code, 'ETIMEDOUT', message, { cause: this.#lastLoss });
    // Connected again, but no answer has come: waiting requests are on that connection's way, so it has to end.
    if (this.#connection !== null) this.#lost(this.#connection, reason);
    this.#endGiveUp();
    if (this.#state !== 'RECONNECTING') return;
    this.#fail(reason);
    this.#events.gaveUp?.(reason);
  }

  #endGiveUp(): void {
    this.#giveUpTimer?.cancel();
    this.#giveUpTimer = null;
  }

  #progressed(): void {
    this.#reconnector.progress();
    this.#endGiveUp();
  }

  async #accept(connection: Connection): Promise<void> {
    const { mediaSizeBytes, sectorSizeBytes } = connection.terms;
    if (mediaSizeBytes !== this.mediaSizeBytes || sectorSizeBytes !== this.sectorSizeBytes) {
      connection.reset();
      this.#change(`${mediaSizeBytes} bytes in sectors of ${sectorSizeBytes}`);
      return;
    }
    try {
      const knowsFlush = await this.#dialer.knowsFlush(connection);
      if (this.#state === 'CLOSED') connection.reset();
      else {
        this.#reconnects += 1;
        this.#attach(connection, knowsFlush);
      }
    } catch (error) {
      connection.reset();
      throw error;
    }
  }

  #change(found: string): void {
    const expected = `${this.mediaSizeBytes} bytes in sectors of ${this.sectorSizeBytes}`;
    const message = `${this.name}: came back with ${found} instead of ${expected}; check the export, then open it anew`;
    const reason = new DeviceError('DEVICE_CHANGED', 'ESTALE', message);
    this.#failure = reason;
    this.#move('changed');
    this.#endGiveUp();
    this.#pipeline.fail(reason, () => true);
    this.#events.changed?.(reason);
  }

  #refusalOf(io: BlockIo): DeviceError | null {
    if (this.#failure !== null) return this.#failure;
    if (this.#closing !== null) return new DeviceError('DEVICE_CLOSED', 'EBADF', `${this.name}: closed`);
    if (this.#connection !== null && !isInForce(io.op, this.#features, this.#knowsFlush))
      return unsupported(this.name, io.op);
    if (io.op !== 'flush' || !this.#pipeline.durability.hasUnreportedLoss) return null;
    this.#pipeline.durability.reported();
    return flushLoss(this.name, this.#lastLoss);
  }
}
