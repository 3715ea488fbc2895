import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { DeviceError } from '../device/block-device.js';
import type { Clock, Timer } from '../device/clock.js';
import { Features, encodeCapabilities } from '../protocol/capabilities.js';
import { toWireErrno, type ErrnoName } from '../protocol/errno.js';
import { ProtocolError, messageOf } from '../protocol/errors.js';
import { encodeServerInitial, type AccessMode } from '../protocol/handshake.js';
import { allows, findExport, type ExportList } from './access.js';
import { hostKey, type Admission, type Seat } from './admission.js';
import type { GuardedProbe, ProbedMedia } from './guarded-probe.js';
import type { AttachRequest, PairedHalves, Peer, SessionHost } from './halves.js';
import { receiveHandshake, type ClientHandshake } from './handshake.js';
import { HANDSHAKE_MS, PROBE_MS, REFUSAL_LINGER_MS } from './limits.js';
import type { Arrival } from './listener.js';
import type { CheckedHalf, PendingHalves } from './pending-halves.js';
import type { QuietLog, ServerLog } from './server-log.js';
import { serverCapabilities, type ServerIdentity } from './server-identity.js';
import { certificateNames } from './tls-options.js';
import { within } from './within.js';

/** What a client is told when it is let in. */
type Terms = Pick<PairedHalves, 'features' | 'keepAliveMs' | 'welcome'>;

/** A half together with its place in the waiting room. */
export interface SeatedHalf extends CheckedHalf {
  readonly terms: Terms;
  readonly raw: Socket;
  readonly seat: Seat;
  /** Closes the connection; the log gets the reason. */
  readonly drop: (why: string) => void;
}

/** What all newcomers share. */
export interface FrontDoor {
  readonly clock: Clock;
  readonly log: ServerLog;
  /** For what a stranger can cause without end; by host. */
  readonly quietLog: QuietLog;
  readonly identity: ServerIdentity;
  readonly admission: Admission;
  readonly pending: PendingHalves<SeatedHalf>;
  readonly probe: GuardedProbe;
  readonly sessions: SessionHost;
  /** The list that is in force now. */
  exports(): ExportList;
}

interface Refusal {
  readonly errno: ErrnoName;
  readonly reason: string;
}

/** Both kinds of answer to a client's initial packet, before its other half is looked for. */
type Verdict = { readonly refusal: Refusal } | { readonly refusal: null; readonly media: ProbedMedia };

/**
 * One connection from its accept() until it is refused, or waits as the first half of a session, or is handed over
 * together with the other one. Nothing that the client does or leaves undone concerns any other connection.
 */
export class Newcomer {
  readonly #peer: Peer;
  readonly #seat: Seat;
  /** Spans the TLS handshake and ours. */
  readonly #handshakeTimer: Timer;
  #hasEnded = false;

  private constructor(
    private readonly arrival: Arrival,
    private readonly door: FrontDoor,
    address: string,
  ) {
    const { raw } = arrival;
    this.#peer = {
      address: plainAddress(address),
      port: raw.remotePort ?? 0,
      certificateName: null,
      certificateNames: [],
    };
    this.#seat = door.admission.admit(hostKey(address), (why) => this.#drop(why));
    raw.once('close', this.#seat.leave);
    this.#handshakeTimer = door.clock.after(HANDSHAKE_MS, () =>
      this.#drop(`it did not finish its handshake in ${HANDSHAKE_MS / 1000} s`),
    );
  }

  /** Never throws, never rejects. */
  static receive(arrival: Arrival, door: FrontDoor): void {
    const { raw } = arrival;
    // A reset arrives as 'error' and then 'close'; the latter is what everyone here waits for.
    raw.on('error', () => undefined);
    if (raw.remoteAddress === undefined) {
      raw.destroy(); // The client has already gone again.
      return;
    }
    new Newcomer(arrival, door, raw.remoteAddress).#run().catch((error: unknown) => {
      door.log.error({ err: error }, 'a connection was closed because of a bug, please report it');
      raw.destroy();
    });
  }

  async #run(): Promise<void> {
    const socket = await this.#secure();
    if (socket === null) return;
    const peer = withCertificate(this.#peer, socket);
    const handshake = await this.#shakeHands(socket, peer);
    if (handshake === null) return;
    const { initial, hello } = handshake;
    const request: AttachRequest = { peer, path: initial.path, access: initial.access, hello };
    const verdict = await examine(request, this.door);
    if (socket.destroyed) return;
    if (verdict.refusal !== null) {
      this.#refuse(socket, request, verdict.refusal);
      return;
    }
    const { media } = verdict;
    this.#meet({
      request,
      half: initial.half,
      token: initial.token,
      isTls: this.arrival.isTls,
      mediaSizeBytes: media.mediaSizeBytes,
      sectorSizeBytes: media.sectorSizeBytes,
      terms: termsOf(request, media, this.door.identity),
      socket,
      raw: this.arrival.raw,
      seat: this.#seat,
      drop: (why) => this.#drop(why),
    });
  }

  #fields(request: AttachRequest): Record<string, unknown> {
    return { ...peerFields(request.peer), export: request.path, mode: request.access };
  }

  async #secure(): Promise<Socket | null> {
    try {
      const socket = await this.arrival.secured;
      socket.on('error', () => undefined);
      return socket;
    } catch (error) {
      this.#handshakeTimer.cancel();
      this.#drop(messageOf(error));
      return null;
    }
  }

  async #shakeHands(socket: Socket, peer: Peer): Promise<ClientHandshake | null> {
    try {
      return await receiveHandshake(socket);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      if (error.code === 'PROTOCOL_FORMAT') {
        const request: AttachRequest = { peer, path: '', access: 'ro', hello: null };
        this.#refuse(socket, request, { errno: 'EPERM', reason: error.message });
      } else {
        this.#drop(error.message);
      }
      return null;
    } finally {
      this.#handshakeTimer.cancel();
    }
  }

  #meet(half: SeatedHalf): void {
    const { socket, request } = half;
    const meeting = this.door.pending.meet(half);
    if (meeting.kind === 'refused') this.#refuse(socket, request, meeting);
    else if (meeting.kind === 'first') socket.write(half.terms.welcome);
    else this.#handOver(meeting.first, half);
  }

  #handOver(first: SeatedHalf, last: SeatedHalf): void {
    for (const { seat, raw } of [first, last]) {
      seat.leave();
      raw.off('close', seat.leave);
    }
    const [receive, send] = last.half === 'receive' ? [last, first] : [first, last];
    this.door.sessions.start({
      // What the first half was told is what counts: the last one hears the same.
      ...first.terms,
      request: first.request,
      receive: receive.socket.pause(),
      send: send.socket.pause(),
      last: last.half,
      mediaSizeBytes: first.mediaSizeBytes,
      sectorSizeBytes: first.sectorSizeBytes,
    });
  }

  /** Tells the client, gives it some time to read that, and takes nothing more from it. */
  #refuse(socket: Socket, request: AttachRequest, { errno, reason }: Refusal): void {
    this.#hasEnded = true;
    this.door.log.warn({ ...this.#fields(request), errno }, `refused: ${reason}`);
    const errorNumber = toWireErrno(errno);
    socket.end(encodeServerInitial({ mediaSizeBytes: 0, sectorSizeBytes: 0, errorNumber }));
    // A socket closed over unread bytes sends a reset, which can overtake the answer. So they are read, and forgotten.
    socket.resume();
    const timer = this.door.clock.after(REFUSAL_LINGER_MS, () => socket.destroy());
    socket.once('close', () => timer.cancel());
  }

  /** Closes without an answer. */
  #drop(why: string): void {
    const { raw } = this.arrival;
    if (!this.#hasEnded) {
      this.#hasEnded = true;
      // Port scanners and health checks say nothing and go; nobody wants to read about them.
      const level = raw.bytesRead === 0 ? 'debug' : 'warn';
      const fields = { ...peerFields(this.#peer), reason: why };
      this.door.quietLog.write(hostKey(this.#peer.address), level, fields, 'connection dropped');
    }
    raw.destroy();
  }
}

/** Whether the exports, the medium and the running sessions let the request in. */
async function examine(request: AttachRequest, door: FrontDoor): Promise<Verdict> {
  const { path, access } = request;
  const denied = deniedBy(door.exports(), request);
  if (denied !== null) return { refusal: denied };
  try {
    const media = await door.probe.probe(path, access);
    const limits = { clock: door.clock, limitMs: PROBE_MS, what: path };
    const errno = await within(limits, door.sessions.refusalOf(request));
    if (errno !== null)
      return { refusal: { errno, reason: 'another session may write this export, or it is released' } };
    // The exports may have been read anew meanwhile.
    const deniedNow = deniedBy(door.exports(), request);
    return deniedNow === null ? { refusal: null, media } : { refusal: deniedNow };
  } catch (error) {
    return {
      refusal: { errno: error instanceof DeviceError ? error.errno : 'EIO', reason: messageOf(error) },
    };
  }
}

function deniedBy(exports: ExportList, { peer, path, access }: AttachRequest): Refusal | null {
  const found = findExport(exports, peer, path);
  if (found === null) return { errno: 'EPERM', reason: 'no export with this path is for this client' };
  if (allows(access, found.access)) return null;
  return { errno: 'EPERM', reason: `${found.origin} allows ${MODE_NAMES[found.access]} access only` };
}

const MODE_NAMES: Readonly<Record<AccessMode, string>> = {
  ro: 'read-only',
  wo: 'write-only',
  rw: 'read-write',
};

function termsOf({ hello }: AttachRequest, media: ProbedMedia, identity: ServerIdentity): Terms {
  const { mediaSizeBytes, sectorSizeBytes } = media;
  const initial = encodeServerInitial({ mediaSizeBytes, sectorSizeBytes, errorNumber: 0 });
  if (hello === null) return { features: Features.none, keepAliveMs: 0, welcome: initial };
  const capabilities = serverCapabilities(identity, hello, media);
  return {
    features: capabilities.features,
    keepAliveMs: capabilities.keepAliveMs,
    welcome: Buffer.concat([initial, encodeCapabilities(capabilities)]),
  };
}

/** IPv4 addresses that a dual-stack listener sees mapped into IPv6, as everyone writes them. */
const plainAddress = (address: string): string =>
  /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1] ?? address;

function withCertificate(peer: Peer, socket: Socket): Peer {
  if (!(socket instanceof TLSSocket) || !socket.authorized) return peer;
  const names = certificateNames(socket.getPeerCertificate());
  return { ...peer, certificateName: names[0] ?? null, certificateNames: names };
}

const peerFields = ({ address, certificateName }: Peer): Record<string, unknown> =>
  certificateName === null ? { peer: address } : { peer: address, certificate: certificateName };
