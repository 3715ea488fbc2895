import type { Chance } from '../chance.js';
import type { Link } from '../link.js';

export type Packet =
  | { readonly kind: 'syn' }
  | { readonly kind: 'data'; readonly bytes: Buffer }
  | { readonly kind: 'fin' }
  | { readonly kind: 'reset'; readonly code: string };

export interface PipeOptions {
  readonly link: Link;
  readonly chance: Chance;
  /** Name of the host that sends. */
  readonly from: string;
  /** What the kernels at both ends keep at most. */
  readonly bufferBytes: number;
  /** Data is cut into pieces of this length at most. */
  readonly segmentBytes: number;
  /** What goes through in a millisecond. */
  readonly bytesPerMs: number;
  readonly arrived: (packet: Packet) => void;
  readonly hasRoom: () => void;
}

interface Sent {
  readonly dueMs: number;
  readonly packet: Packet;
}

/** One direction of a connection: what is in it keeps its order, and is cut anywhere. */
export class Pipe {
  readonly #queue: Sent[] = [];
  #lastMs = 0;
  #isTimed = false;
  /** Something is missing in it, so nothing that follows is of use to the receiver. */
  #isBroken = false;
  /** Sent, and not taken by the program at the other end. */
  #untakenBytes = 0;
  /** Since somebody last set it to false. */
  hasSent = false;

  constructor(private readonly options: PipeOptions) {}

  /** Little room is none, as kernels have it: else pieces that were cut small stay small, and get smaller, for ever. */
  get roomBytes(): number {
    const { bufferBytes, segmentBytes } = this.options;
    const roomBytes = bufferBytes - this.#untakenBytes;
    return roomBytes < Math.min(segmentBytes, bufferBytes / 2) ? 0 : roomBytes;
  }

  send(packet: Packet): void {
    this.hasSent = true;
    const { link, from, chance, segmentBytes } = this.options;
    const isLost = link.isLossy(from);
    if (packet.kind === 'data') this.#untakenBytes += packet.bytes.length;
    if (isLost && packet.kind !== 'syn') this.#isBroken = true;
    // A reset needs nothing that came before it.
    if (isLost || (this.#isBroken && packet.kind !== 'reset')) return;
    if (packet.kind !== 'data') this.#push(packet);
    else {
      const { bytes } = packet;
      for (let at = 0; at < bytes.length;) {
        // Mostly as much as goes into one, at times a part of a header.
        const endAt = at + (chance.happens(0.1) ? chance.between(1, 60) : segmentBytes);
        this.#push({ kind: 'data', bytes: bytes.subarray(at, endAt) });
        at = endAt;
      }
    }
    this.pump();
  }

  consumed(lengthBytes: number): void {
    this.#untakenBytes -= lengthBytes;
    this.options.hasRoom();
  }

  /** The sender takes back what is not out yet; how much of it is out, nobody knows, but the last thing is not. */
  drop(): void {
    this.#queue.splice(this.options.chance.below(Math.max(1, this.#queue.length)));
    this.#isBroken = true;
  }

  /** The link loses all that is on its way. */
  lose(): void {
    this.#queue.length = 0;
    this.#isBroken = true;
  }

  pump(): void {
    const [next] = this.#queue;
    const { link, from, arrived } = this.options;
    if (next === undefined || this.#isTimed || link.stalledFrom.has(from)) return;
    this.#isTimed = true;
    link.world.after(next.dueMs - link.world.nowMs, () => {
      this.#isTimed = false;
      if (!link.stalledFrom.has(from)) {
        const due = this.#queue.shift();
        if (due !== undefined) arrived(due.packet);
      }
      this.pump();
    });
  }

  #push(packet: Packet): void {
    const { link, chance, bytesPerMs } = this.options;
    const lengthBytes = packet.kind === 'data' ? packet.bytes.length : 0;
    const freeMs = this.#lastMs + lengthBytes / bytesPerMs;
    const dueMs = Math.max(freeMs, link.world.nowMs + chance.delayMs(link.latencyMs));
    this.#lastMs = dueMs;
    this.#queue.push({ dueMs, packet });
  }
}
