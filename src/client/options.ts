import type { Socket, TcpSocketConnectOpts } from 'node:net';
import type { Clock } from '../device/clock.js';
import type { DeviceError } from '../device/block-device.js';
import type { ContentCheck } from '../device/content-check.js';
import type { RandomSource } from '../device/random.js';
import type { AccessMode } from '../protocol/handshake.js';
import type { GgateUri } from '../protocol/uri.js';

/** Begins a TCP connection: connect() of node:net, or what stands for it in a simulation. */
export type ConnectTcp = (options: TcpSocketConnectOpts) => Socket;

/** PEM, as in node:tls. The server's certificate is always verified; without `ca` against the system's authorities. */
export interface ClientTls {
  readonly ca?: Buffer | string;
  readonly cert?: Buffer | string;
  readonly key?: Buffer | string;
  /** Name that the server's certificate must have; the URI's host if absent. */
  readonly servername?: string;
}

/** What is in force between the two ends, after each connect. */
export interface SessionInfo {
  readonly mode: AccessMode;
  /** False for a ggated, which answers no hello. */
  readonly isGgmirror: boolean;
  /** Names of the extensions in force, of FEATURE. */
  readonly extensions: readonly string[];
  /** Hexadecimal, null without a hello. Drawn at the server's start. */
  readonly instanceId: string | null;
  /** Hexadecimal, null without a hello or when the server does not know. The same until the server's host restarts. */
  readonly bootId: string | null;
  /** The address that the host name stood for. */
  readonly address: string;
}

/** For logs and for the mirror. None may throw. All are called outside of start(). */
export interface RemoteEvents {
  connected?(session: SessionInfo): void;
  /** The connection is gone. Called once for each connection, with what ended it. */
  lost?(reason: DeviceError): void;
  /** The next attempt starts in `delayMs`. Attempts count from 1. */
  reconnecting?(attempt: number, delayMs: number): void;
  /** An attempt failed and is repeated; DEVICE_REFUSED with EPERM may need a person. */
  attemptFailed?(attempt: number, reason: DeviceError): void;
  /**
   * The server's host has restarted since the last connection, or may have (`certain` is false without a hello).
   * `unflushed`: writes had been acknowledged and not flushed since; they may be lost.
   */
  restarted?(about: { readonly certain: boolean; readonly unflushed: boolean }): void;
  /** Every waiting request was failed because `giveUpMs` went by; attempts go on. */
  gaveUp?(reason: DeviceError): void;
  /** The export came back with another size: this device is of no further use. */
  changed?(reason: DeviceError): void;
  /** It is being closed, or was given up: it sends nothing any more, and makes no connection. */
  closed?(): void;
}

export interface RemoteOptions {
  readonly uri: GgateUri;
  readonly access: AccessMode;
  /** Whether to say hello. Default true; a ggated ignores it. */
  readonly extensions?: boolean;
  /**
   * 16 bytes, said with the hello; drawn at random if not given. A server gives a client that knows it the place of the
   * session that it has there, so it must not be given to two devices at a time.
   */
  readonly instanceId?: Buffer;
  /** Used when the URI says `ggates`. */
  readonly tls?: ClientTls;
  /** Longest wait for an answer once all earlier requests are answered. Default 30,000. */
  readonly requestTimeoutMs?: number;
  /** Longest time for both connections and their handshakes. Default 10,000. */
  readonly connectTimeoutMs?: number;
  /**
   * What becomes of requests when the connection is lost. `replay`, the default: they wait for the next connection and
   * are sent again, in order, before newer ones. `fail`: they end with DEVICE_LOST, or DEVICE_TIMEOUT when the server
   * was silent, and so do new ones until the next connection stands.
   */
  readonly onConnectionLost?: 'replay' | 'fail';
  /**
   * Asked whenever a lost connection is to be replaced: what the export must still hold, as it might have been given to
   * somebody else meanwhile. While that is not so, it counts as not reachable. Null, or left out: whatever it holds.
   */
  readonly returnCheck?: () => ContentCheck | null;
  /** With `replay`: how long the loss may last until waiting requests are failed all the same. Default null, for ever. */
  readonly giveUpMs?: number | null;
  /** Wait before an attempt to reconnect: doubles from `firstMs` (200) to `maxMs` (5,000), and varies by a quarter. */
  readonly backoff?: { readonly firstMs?: number; readonly maxMs?: number };
  readonly window?: { readonly requestsMax?: number; readonly bytesMax?: number };
  /**
   * Whether a server without hello is asked if it knows FLUSH; see flush-probe.ts. Default 'never': then such a device
   * has `can.flush` false.
   */
  readonly flushProbe?: 'never' | 'once';
  readonly clock?: Clock;
  readonly random?: RandomSource;
  /** connect() of node:net if not given. */
  readonly connectTcp?: ConnectTcp;
  readonly events?: RemoteEvents;
}
