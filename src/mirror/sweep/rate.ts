import type { Clock } from '../../device/clock.js';

/** The rate is that of the last seconds: long enough not to jump, short enough to show a change. */
const WINDOW_MS = 10_000;
const SAMPLE_MS = 500;
/** What may be done at once after a while without work. */
const BURST_MS = 100;

interface Sample {
  readonly atMs: number;
  readonly doneBytes: number;
}

/** How fast something goes. */
export class RateMeter {
  readonly #samples: Sample[];
  #doneBytes = 0;

  constructor(private readonly clock: Clock) {
    this.#samples = [{ atMs: clock.nowMs(), doneBytes: 0 }];
  }

  add(bytes: number): void {
    this.#doneBytes += bytes;
    const nowMs = this.clock.nowMs();
    const last = this.#samples.at(-1);
    if (last === undefined || nowMs - last.atMs < SAMPLE_MS) return;
    this.#samples.push({ atMs: nowMs, doneBytes: this.#doneBytes });
    this.#forget(nowMs);
  }

  /** Of the last seconds; null before any time has passed. 0 when nothing goes on. */
  bytesPerSecond(): number | null {
    const nowMs = this.clock.nowMs();
    this.#forget(nowMs);
    const [first] = this.#samples;
    if (first === undefined || nowMs <= first.atMs) return null;
    return ((this.#doneBytes - first.doneBytes) / (nowMs - first.atMs)) * 1000;
  }

  /** Leaves the newest of those that are older than the window. */
  #forget(nowMs: number): void {
    while (this.#samples.length > 1 && nowMs - (this.#samples[1]?.atMs ?? nowMs) >= WINDOW_MS) {
      this.#samples.shift();
    }
  }
}

/** Lets no more through than is allowed. What was not used is not saved up, but for a moment. */
export class RateLimit {
  #freeAtMs: number;

  /** 0 for no limit. */
  constructor(
    private readonly clock: Clock,
    private readonly bytesPerSecond: number,
  ) {
    this.#freeAtMs = clock.nowMs();
  }

  /** How long to wait before anything more may begin; 0 for not at all. */
  get waitMs(): number {
    return this.bytesPerSecond === 0 ? 0 : Math.max(0, this.#freeAtMs - this.clock.nowMs());
  }

  take(bytes: number): void {
    if (this.bytesPerSecond === 0) return;
    const fromMs = Math.max(this.#freeAtMs, this.clock.nowMs() - BURST_MS);
    this.#freeAtMs = fromMs + (bytes / this.bytesPerSecond) * 1000;
  }
}
