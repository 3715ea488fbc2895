import { parsePeerAddress } from '../protocol/addresses.js';
import { PENDING_PER_HOST_MAX, PENDING_TOTAL_MAX } from './limits.js';

/** One connection's place among those that have no session yet. */
export interface Seat {
  /** Gives the place back. May be called twice. */
  readonly leave: () => void;
}

interface Occupant extends Seat {
  readonly drop: (why: string) => void;
}

/**
 * Who counts as one host. An IPv6 host has a /64 of addresses to itself (RFC 4291), so a limit for each of them would
 * be none.
 */
export function hostKey(address: string): string {
  const ip = parsePeerAddress(address);
  if (ip === null) return address;
  return ip.family === 4 ? `4:${ip.value}` : `6:${ip.value / 2n ** 64n}`;
}

/**
 * Bounds the connections that have no session yet, without ever turning a new one away: when a host has its share, its
 * oldest one goes; when all places are taken, the oldest one of the host that has most. So whoever floods us pushes out
 * himself, and a client that gets on with its handshake is through before its turn comes.
 *
 * Invariant: at most `perHostMax` occupants a host, `totalMax` in all, no host without occupants.
 */
export class Admission {
  /** Sets keep their order, so the first occupant is the oldest. */
  readonly #hosts = new Map<string, Set<Occupant>>();
  #count = 0;

  constructor(
    private readonly perHostMax = PENDING_PER_HOST_MAX,
    private readonly totalMax = PENDING_TOTAL_MAX,
  ) {}

  get count(): number {
    return this.#count;
  }

  /** Takes a place. `drop` is called, at most once and after the place was given back, when another needs it. */
  admit(host: string, drop: (why: string) => void): Seat {
    if ((this.#hosts.get(host)?.size ?? 0) >= this.perHostMax) {
      this.#dropOldest(host, `${this.perHostMax} newer connections from the same host wait as well`);
    } else if (this.#count >= this.totalMax) {
      this.#dropOldest(this.#busiestHost(), `${this.totalMax} connections wait, most of them from this host`);
    }
    const occupant: Occupant = { drop, leave: () => this.#leave(host, occupant) };
    const occupants = this.#hosts.get(host) ?? new Set();
    this.#hosts.set(host, occupants.add(occupant));
    this.#count += 1;
    return occupant;
  }

  dropAll(why: string): void {
    for (const occupant of [...this.#hosts.values()].flatMap((occupants) => [...occupants])) {
      occupant.leave();
      occupant.drop(why);
    }
  }

  #leave(host: string, occupant: Occupant): void {
    const occupants = this.#hosts.get(host);
    if (occupants?.delete(occupant) !== true) return;
    this.#count -= 1;
    if (occupants.size === 0) this.#hosts.delete(host);
  }

  #dropOldest(host: string, why: string): void {
    const [oldest] = this.#hosts.get(host) ?? [];
    oldest?.leave();
    oldest?.drop(why);
  }

  #busiestHost(): string {
    let busiest = '';
    let mostOccupants = 0;
    for (const [host, { size }] of this.#hosts) {
      if (size > mostOccupants) [busiest, mostOccupants] = [host, size];
    }
    return busiest;
  }
}
