import type { BlockIo, BlockOp, DeviceError } from '../../device/block-device.js';
import type { Clock } from '../../device/clock.js';
import { PassedOnIo } from '../../device/wrappers/passed-on.js';
import { GENTLE_REGIONS, IN_FLIGHT_MAX, PIECE_REGIONS } from '../limits.js';

/** Callers count as busy until they have been quiet for this long: two requests a second are always met gently. */
const QUIET_MS = 500;
/** A piece and its pause, at their shortest: half of the time the callers have the disks to themselves. */
const SLOWDOWN_MIN = 1;
/** And at their longest. A spinning disk (15 ms a piece) still copies 300 KiB a second then, as much as DRBD insists on. */
const SLOWDOWN_MAX = 8;
/** However slow the disks are, we look again after this long. */
const PAUSE_MS_MAX = 250;
/** Requests that began beside a piece may take so much longer than others, on average, before pauses grow or shrink. */
const TOO_SLOW = 2;
const FAST_ENOUGH = 1.5;
/** Averages over about this many requests; before that they say nothing. */
const SAMPLES = 16;

/**
 * How hard a mirror may work for itself (resync, verify) beside its callers.
 *
 * While callers are quiet: as many pieces in flight as a plain copy has, after a slow start. While they are busy: one
 * small piece at a time, with a pause after each that is at least as long as the piece and a caller's request take. So
 * some requests begin beside a piece and some do not, and comparing how long both kinds take tells whether pieces hurt:
 * then the pauses grow. Both kinds are told apart when a request begins, not when it ends, or slow ones would count as
 * hurt for being slow.
 */
export class Pace {
  #sweeps = 0;
  #requests = 0;
  #lastRequestMs = -Infinity;
  #pieces = 0;
  #slowdown = SLOWDOWN_MIN;
  readonly #beside = new Average();
  readonly #alone = new Average();

  constructor(private readonly clock: Clock) {}

  /** Whether callers' requests are to be watched: a sweep is running. */
  get isWatching(): boolean {
    return this.#sweeps > 0;
  }

  sweepBegins(): void {
    this.#sweeps += 1;
  }

  sweepEnds(): void {
    this.#sweeps -= 1;
  }

  /** A caller's request as it is to be started: `io`, whose end is noticed. */
  watch(io: BlockIo): BlockIo {
    const nowMs = this.clock.nowMs();
    this.#requests += 1;
    this.#lastRequestMs = nowMs;
    return new WatchedIo(io, this, nowMs, this.#pieces > 0);
  }

  /** For WatchedIo. */
  requestEnds(op: BlockOp, startedMs: number, wasBesidePiece: boolean): void {
    const nowMs = this.clock.nowMs();
    this.#requests -= 1;
    this.#lastRequestMs = nowMs;
    // A flush takes as long as there is to be flushed.
    if (op !== 'flush') (wasBesidePiece ? this.#beside : this.#alone).add(nowMs - startedMs);
  }

  get isGentle(): boolean {
    return this.#requests > 0 || this.clock.nowMs() - this.#lastRequestMs < QUIET_MS;
  }

  /** How long a piece may be. */
  get pieceRegionsMax(): number {
    return this.isGentle ? GENTLE_REGIONS : PIECE_REGIONS;
  }

  /** How many pieces of one sweep may be in flight when one more has been done; begins with 1. */
  windowAfter(window: number): number {
    return this.isGentle ? 1 : Math.min(IN_FLIGHT_MAX, window + 1);
  }

  pieceBegins(): void {
    this.#pieces += 1;
  }

  /** Returns how long to wait before the next one, 0 for not at all. */
  pieceEnds(tookMs: number): number {
    this.#pieces -= 1;
    if (!this.isGentle) return 0;
    this.#adapt();
    return Math.min(PAUSE_MS_MAX, this.#slowdown * (tookMs + this.#alone.value));
  }

  #adapt(): void {
    if (!this.#beside.isTelling || !this.#alone.isTelling) return;
    const ratio = this.#beside.value / this.#alone.value;
    if (ratio > TOO_SLOW) this.#slowdown = Math.min(SLOWDOWN_MAX, this.#slowdown * 1.25);
    else if (ratio < FAST_ENOUGH) this.#slowdown = Math.max(SLOWDOWN_MIN, this.#slowdown * 0.95);
  }
}

class WatchedIo extends PassedOnIo {
  constructor(
    io: BlockIo,
    private readonly pace: Pace,
    private readonly startedMs: number,
    private readonly isBesidePiece: boolean,
  ) {
    super(io);
  }

  done(error: DeviceError | null): void {
    this.pace.requestEnds(this.op, this.startedMs, this.isBesidePiece);
    this.io.done(error);
  }
}

/** Of the last values; the first ones count alike. */
class Average {
  value = 0;
  #count = 0;

  get isTelling(): boolean {
    return this.#count >= SAMPLES;
  }

  add(value: number): void {
    this.#count = Math.min(SAMPLES, this.#count + 1);
    this.value += (value - this.value) / this.#count;
  }
}
