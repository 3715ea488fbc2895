import type { Socket } from 'node:net';
import type { Clock, Timer } from '../device/clock.js';
import type { ErrnoName } from '../protocol/errno.js';
import type { Half } from '../protocol/handshake.js';
import type { AttachRequest } from './halves.js';
import { PENDING_HALF_MS } from './limits.js';

/** A half that the exports allow and whose medium has been looked at. */
export interface CheckedHalf {
  readonly request: AttachRequest;
  readonly half: Half;
  readonly token: number;
  readonly isTls: boolean;
  readonly socket: Socket;
  readonly mediaSizeBytes: number;
  readonly sectorSizeBytes: number;
}

export type Meeting<T extends CheckedHalf> =
  | { readonly kind: 'first' }
  | { readonly kind: 'paired'; readonly first: T }
  | { readonly kind: 'refused'; readonly errno: ErrnoName; readonly reason: string };

interface Waiting<T> {
  readonly half: T;
  readonly timer: Timer;
  readonly forget: () => void;
}

/**
 * Finds the two halves of a session by their token. A newcomer that knows a token but isn't the same client in all that
 * can be seen is sent away, and the half that waits is none the wiser: guessing a token does no harm.
 *
 * Invariant: at most one half a token; each has an open socket and a running timer.
 */
export class PendingHalves<T extends CheckedHalf> {
  readonly #waiting = new Map<number, Waiting<T>>();

  /** `expired` is told of each half whose other half did not come in time; it closes the connection. */
  constructor(
    private readonly clock: Clock,
    private readonly expired: (half: T) => void,
    private readonly limitMs = PENDING_HALF_MS,
  ) {}

  get count(): number {
    return this.#waiting.size;
  }

  /** After 'first' the newcomer waits here until its other half, its time or its connection's end comes. */
  meet(newcomer: T): Meeting<T> {
    const waiting = this.#waiting.get(newcomer.token);
    if (waiting === undefined || waiting.half.socket.destroyed) {
      waiting?.forget();
      this.#keep(newcomer);
      return { kind: 'first' };
    }
    const first = waiting.half;
    const refusal = refusalOf(newcomer, first);
    if (refusal !== null) return { kind: 'refused', ...refusal };
    waiting.forget();
    return { kind: 'paired', first };
  }

  #keep(half: T): void {
    const forget = (): void => {
      waiting.timer.cancel();
      half.socket.off('close', forget);
      if (this.#waiting.get(half.token) === waiting) this.#waiting.delete(half.token);
    };
    const timer = this.clock.after(this.limitMs, () => {
      forget();
      this.expired(half);
    });
    const waiting: Waiting<T> = { half, timer, forget };
    this.#waiting.set(half.token, waiting);
    half.socket.on('close', forget);
  }
}

/** Why two halves with one token don't make a session; null if they do. */
function refusalOf(
  newcomer: CheckedHalf,
  first: CheckedHalf,
): { readonly errno: ErrnoName; readonly reason: string } | null {
  const mine = newcomer.request;
  const other = first.request;
  const differs = (what: string): { errno: ErrnoName; reason: string } => ({
    errno: 'EPERM',
    reason: `a half with the same token waits, but with another ${what}`,
  });
  if (mine.peer.address !== other.peer.address) return differs('address');
  if (newcomer.isTls !== first.isTls) return differs('encryption');
  if (mine.peer.certificateNames.join('\n') !== other.peer.certificateNames.join('\n'))
    return differs('certificate');
  if (mine.path !== other.path) return differs('path');
  if (mine.access !== other.access) return differs('mode');
  if (!isSameClient(mine, other)) return differs('hello');
  if (newcomer.half === first.half) {
    return { errno: 'EEXIST', reason: `a ${newcomer.half} half with the same token waits already` };
  }
  if (
    newcomer.mediaSizeBytes !== first.mediaSizeBytes ||
    newcomer.sectorSizeBytes !== first.sectorSizeBytes
  ) {
    return { errno: 'EIO', reason: 'the medium has changed its size since the first half came' };
  }
  return null;
}

/** Both without a hello, or both with the instance id that a client sends on all its connections. */
const isSameClient = (mine: AttachRequest, other: AttachRequest): boolean =>
  mine.hello === null || other.hello === null
    ? mine.hello === other.hello
    : mine.hello.instanceId.equals(other.hello.instanceId);
