import type { Clock, Timer } from '../device/clock.js';
import { DeviceError } from '../device/block-device.js';
import type { CapabilityPacket } from '../protocol/capabilities.js';
import { ProtocolError } from '../protocol/errors.js';
import type { AccessMode, Half } from '../protocol/handshake.js';
import type { GgateUri } from '../protocol/uri.js';
import { asConnectError } from './errors.js';
import { HalfSocket, type HalfTarget } from './half-socket.js';
import { shakeHands, type ServerTerms, type Shaken } from './handshake.js';
import { CLOSE_LINGER_MS, HANDSHAKE_BUFFER_BYTES, RECEIVE_BUFFER_BYTES } from './limits.js';
import type { ClientTls, ConnectTcp } from './options.js';

export interface ConnectParameters {
  readonly name: string;
  readonly uri: GgateUri;
  readonly access: AccessMode;
  /** The same for both halves, another one for each attempt. */
  readonly token: number;
  readonly hello: CapabilityPacket | null;
  readonly tls: ClientTls | undefined;
  readonly connectTcp: ConnectTcp;
  readonly timeoutMs: number;
  readonly clock: Clock;
}

/** What happens to a standing connection. */
export interface ConnectionSink {
  /** Answers, cut anywhere. Must not throw. */
  answers(bytes: Buffer, length: number): void;
  /** Once, and not after reset() or end(). */
  lost(error: Error | null): void;
}

/** Both halves of a session, after their handshakes. */
export class Connection {
  #isOver = false;

  constructor(
    /** The server sends its answers on it. */
    private readonly send: HalfSocket,
    /** The server receives our requests on it. */
    private readonly receive: HalfSocket,
    private readonly handshakes: readonly [Shaken, Shaken],
    private readonly clock: Clock,
  ) {}

  get terms(): ServerTerms {
    return this.handshakes[0].terms;
  }

  get address(): string {
    return this.send.address;
  }

  /** Whether what is written is copied at once, so that nothing is lent. */
  get copiesWrites(): boolean {
    return this.receive.isTls;
  }

  attach(sink: ConnectionSink): void {
    const closed = (error: Error | null): void => {
      if (this.#isOver) return;
      this.reset();
      sink.lost(error);
    };
    this.send.sink = { bytes: (bytes, length) => sink.answers(bytes, length), closed };
    this.receive.sink = {
      bytes: () =>
        closed(new ProtocolError('PROTOCOL_UNEXPECTED', 'the server sends on the half it receives on')),
      closed,
    };
    // What came since the handshakes ended went to their readers.
    try {
      this.handshakes.forEach((handshake) => handshake.finish());
    } catch (error) {
      queueMicrotask(() => closed(error instanceof Error ? error : null));
    }
  }

  write(parts: readonly Buffer[], sent: () => void): void {
    this.receive.write(parts, sent);
  }

  /** Ends both halves at once; nothing that was written and is not yet sent will be. */
  reset(): void {
    this.#isOver = true;
    this.receive.reset();
    this.send.reset();
  }

  /**
   * Ends a session without requests in flight: the requests' half first, so that the server meets the end where a
   * header would begin. A server that does not close in turn is left after a second.
   */
  async end(): Promise<void> {
    this.#isOver = true;
    let timer: Timer | null = null;
    const linger = new Promise<void>((resolve) => {
      timer = this.clock.after(CLOSE_LINGER_MS, resolve);
    });
    await Promise.race([this.receive.end().then(() => this.send.end()), linger]);
    (timer as Timer | null)?.cancel();
    this.reset();
  }
}

/** An attempt to connect that can be given up. */
export interface ConnectAttempt {
  /** Rejects with a DeviceError: DEVICE_REFUSED, DEVICE_TIMEOUT, DEVICE_CLOSED after cancel(), else DEVICE_OPEN. */
  readonly connected: Promise<Connection>;
  cancel(): void;
}

/** Opens the send half, shakes hands on it, then the receive half (ggate protocol spec, section 3). */
export function connectSession(parameters: ConnectParameters): ConnectAttempt {
  const { name, clock, timeoutMs } = parameters;
  const sockets = new SocketList();
  let abort: (reason: DeviceError) => void = () => undefined;
  const aborted = new Promise<never>((_resolve, reject) => (abort = reject));
  const timer = clock.after(timeoutMs, () =>
    abort(
      new DeviceError(
        'DEVICE_TIMEOUT',
        'ETIMEDOUT',
        `${name}: no connection within ${timeoutMs} ms; check the link`,
      ),
    ),
  );
  const connected = Promise.race([bothHalves(parameters, sockets), aborted])
    .catch((error: unknown) => {
      sockets.reset();
      throw asConnectError(name, error);
    })
    .finally(() => timer.cancel());
  return {
    connected,
    cancel: () => abort(new DeviceError('DEVICE_CLOSED', 'ECANCELED', `${name}: closed while connecting`)),
  };
}

/** The sockets of one attempt, so that whoever ends it ends them all, also one that is opened afterwards. */
class SocketList {
  readonly #sockets: HalfSocket[] = [];
  #isOver = false;

  open(target: HalfTarget, receiveBufferBytes: number): HalfSocket {
    if (this.#isOver) throw new Error('the attempt to connect was given up');
    const socket = new HalfSocket(target, receiveBufferBytes);
    this.#sockets.push(socket);
    return socket;
  }

  reset(): void {
    this.#isOver = true;
    this.#sockets.forEach((socket) => socket.reset());
  }
}

async function bothHalves(parameters: ConnectParameters, sockets: SocketList): Promise<Connection> {
  const { name, uri, access, token, hello, clock, connectTcp: connect } = parameters;
  const tls = uri.isTls ? { ...parameters.tls, identity: parameters.tls?.servername ?? uri.host } : null;
  const open = async (target: HalfTarget, half: Half): Promise<[HalfSocket, Shaken]> => {
    const socket = sockets.open(target, half === 'send' ? RECEIVE_BUFFER_BYTES : HANDSHAKE_BUFFER_BYTES);
    return [
      socket,
      await shakeHands(socket, { name, initial: { path: uri.path, access, half, token }, hello }),
    ];
  };
  const [send, first] = await open({ connect, host: uri.host, port: uri.port, tls }, 'send');
  // A name may stand for several hosts; both halves must reach the same.
  const [receive, second] = await open({ connect, host: send.address, port: uri.port, tls }, 'receive');
  checkSame(first.terms, second.terms);
  receive.dropUnsentAtDeath();
  // That tells a server of ours that the session has not ended in order, and its client may not have heard of a failed flush.
  if (first.terms.hello !== null) send.dropUnsentAtDeath();
  return new Connection(send, receive, [first, second], clock);
}

function checkSame(first: ServerTerms, second: ServerTerms): void {
  const isSame =
    first.mediaSizeBytes === second.mediaSizeBytes &&
    first.sectorSizeBytes === second.sectorSizeBytes &&
    (first.hello === null) === (second.hello === null) &&
    first.hello?.features.bits === second.hello?.features.bits &&
    first.hello?.instanceId.toString('hex') === second.hello?.instanceId.toString('hex') &&
    first.hello?.bootId.toString('hex') === second.hello?.bootId.toString('hex');
  if (!isSame) {
    throw new ProtocolError('PROTOCOL_UNEXPECTED', 'the server says different things on the two halves');
  }
}
