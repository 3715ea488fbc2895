import type { Clock, Timer } from '../../device/clock.js';
import { lineColumns, type ProgressStream } from '../progress.js';
import { formatSeconds } from '../units.js';

const REDRAW_MS = 1_000;
const ERASE_REST = '\u001b[K';

/** Tells what a start waits for: on a terminal in one line that is redrawn, with the time; elsewhere a line when it changes. */
export class WaitLine {
  #why: string | null = null;
  #timer: Timer | null = null;
  #startMs = 0;

  constructor(
    private readonly mirror: string,
    private readonly stream: ProgressStream,
    private readonly clock: Clock,
  ) {}

  show(why: string): void {
    const isFirst = this.#why === null;
    this.#why = why;
    if (isFirst) this.#startMs = this.clock.nowMs();
    if (this.stream.isTTY !== true) this.stream.write(`${this.mirror} waits: ${why}\n`);
    else if (isFirst) this.#draw();
  }

  /** Takes the line off the screen. */
  finish(): void {
    this.#timer?.cancel();
    if (this.#why !== null && this.stream.isTTY === true) this.stream.write(`\r${ERASE_REST}`);
    this.#why = null;
  }

  #draw(): void {
    const waited = formatSeconds(Math.round((this.clock.nowMs() - this.#startMs) / 1000));
    const text = `${this.mirror} waits, ctrl-C ends that (${waited}): ${this.#why ?? ''}`;
    // A line that wraps can't be redrawn.
    this.stream.write(`\r${text.slice(0, lineColumns(this.stream))}${ERASE_REST}`);
    this.#timer = this.clock.after(REDRAW_MS, () => this.#draw());
  }
}
