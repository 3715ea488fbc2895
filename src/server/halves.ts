import type { Socket } from 'node:net';
import type { CapabilityPacket, Features } from '../protocol/capabilities.js';
import type { ErrnoName } from '../protocol/errno.js';
import type { AccessMode, Half } from '../protocol/handshake.js';

/** Who is at the other end of a connection. */
export interface Peer {
  /** Numeric, IPv4-mapped IPv6 addresses as IPv4. */
  readonly address: string;
  readonly port: number;
  /** Subject common name of a verified client certificate; null without TLS or without a certificate. */
  readonly certificateName: string | null;
  /** All names of that certificate that an export line may use: the common name and the DNS alternative names. */
  readonly certificateNames: readonly string[];
}

/** What a client asked for in its initial packet, after the exports have allowed it. */
export interface AttachRequest {
  readonly peer: Peer;
  /** The path that the client named and the export has: also the file that is served. */
  readonly path: string;
  readonly access: AccessMode;
  /** The client's capability packet, null for a ggatec and everyone else who said no hello. */
  readonly hello: CapabilityPacket | null;
}

/**
 * Both connections of a session, handshakes done but for the last server initial packet. The sockets are in paused mode
 * and have no listeners but for 'error'; what has been read beyond the handshake is still in their buffers.
 */
export interface PairedHalves {
  readonly request: AttachRequest;
  /** Requests come in here. */
  readonly receive: Socket;
  /** Answers go out here. */
  readonly send: Socket;
  /** The half that still waits for its initial packet (and capability packet). */
  readonly last: Half;
  /** What the first half was told; the session refuses to start with anything else. */
  readonly mediaSizeBytes: number;
  readonly sectorSizeBytes: number;
  /** In force for this session, as the capability packet in `welcome` says; none without a hello. */
  readonly features: Features;
  /** A client with keep-alive lets us hear something this often; 0 without. */
  readonly keepAliveMs: number;
  /** What the session host sends on the last half when the session can begin: initial and capability packet. */
  readonly welcome: Buffer;
}

/** Starts sessions and knows those that run. */
export interface SessionHost {
  /**
   * Whether a session would be refused now, EBUSY for a second writer; null if not. For the first half, so that a client
   * hears of it early; start() decides.
   */
  refusalOf(request: AttachRequest): Promise<ErrnoName | null>;
  /** Takes over the sockets, answers the last half and serves, or refuses and closes. Never throws. */
  start(halves: PairedHalves): void;
}
