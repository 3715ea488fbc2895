import type { Clock, Timer } from '../device/clock.js';
import { formatBytes, formatRate, formatSeconds } from './units.js';

/** Where progress goes: stderr, so that stdout stays free for results. */
export interface ProgressStream {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

/** How long a line may be that is redrawn: the last column stays free, since some terminals wrap when it is written. */
export function lineColumns({ columns = 0 }: ProgressStream): number {
  // A serial console says that it has none.
  return (columns === 0 ? 80 : columns) - 1;
}

export interface ProgressOptions {
  readonly clock: Clock;
  readonly stream: ProgressStream;
  /** One word: 'copy', 'verify'. */
  readonly label: string;
  readonly totalBytes: number;
}

const TERMINAL_INTERVAL_MS = 200;
const PLAIN_INTERVAL_MS = 5_000;
/** The rate is that of the last seconds: long enough not to jump, short enough to show that a link has gone. */
const RATE_WINDOW_MS = 5_000;
const BAR_COLUMNS_MAX = 30;
const BAR_COLUMNS_MIN = 8;
/** What stands beside the bar, at its longest: the bar must not change its width with it. */
const TEXT_COLUMNS = 68;
/** Erases from the cursor to the end of the line, so that a shorter text leaves nothing of a longer one. */
const ERASE_REST = '\u001b[K';

interface Sample {
  readonly atMs: number;
  readonly doneBytes: number;
}

/**
 * How far a long operation is. On a terminal one line is rewritten; elsewhere a plain line comes every few seconds.
 * `advance` costs an addition; all drawing hangs on the clock, so a standstill shows as well.
 */
export class Progress {
  #doneBytes: number;
  #remark: string | null = null;
  #remarkedMs = Number.NEGATIVE_INFINITY;
  #samples: Sample[] = [];
  #timer: Timer | null = null;
  #lineIsOpen = false;
  #isFinished = false;
  readonly #startMs: number;
  readonly #startBytes: number;

  /** `startBytes` were done before. */
  constructor(
    private readonly options: ProgressOptions,
    startBytes = 0,
  ) {
    this.#doneBytes = startBytes;
    this.#startBytes = startBytes;
    this.#startMs = options.clock.nowMs();
    this.#samples.push({ atMs: this.#startMs, doneBytes: startBytes });
    this.#schedule();
  }

  advance(bytes: number): void {
    this.#doneBytes += bytes;
  }

  /** A word on why it stands still, shown in place of the rate until it is null again. */
  remark(text: string | null): void {
    if (text === this.#remark) return;
    this.#remark = text;
    if (this.#isTerminal) {
      this.#draw();
      return;
    }
    // A connection may come and go many times a second; the next plain line tells of it anyway.
    const nowMs = this.options.clock.nowMs();
    if (text === null || nowMs - this.#remarkedMs < PLAIN_INTERVAL_MS) return;
    this.#remarkedMs = nowMs;
    this.note(`${this.options.label}: ${text}`);
  }

  /** A line of its own that stays on the screen. */
  note(text: string): void {
    this.#clearLine();
    this.options.stream.write(`${text}\n`);
    if (this.#isTerminal && !this.#isFinished) this.#draw();
  }

  /** Stops drawing. `keep` leaves the last state on the screen; otherwise the line goes away. */
  finish(keep: boolean): void {
    if (this.#isFinished) return;
    this.#timer?.cancel();
    if (!this.#isTerminal) {
      this.#isFinished = true;
      return;
    }
    this.#isFinished = true;
    if (keep) this.#draw();
    if (keep) this.options.stream.write('\n');
    else this.#clearLine();
    this.#lineIsOpen = false;
  }

  get #isTerminal(): boolean {
    return this.options.stream.isTTY === true;
  }

  #schedule(): void {
    const intervalMs = this.#isTerminal ? TERMINAL_INTERVAL_MS : PLAIN_INTERVAL_MS;
    this.#timer = this.options.clock.after(intervalMs, () => {
      if (this.#isFinished) return;
      this.#sample();
      if (this.#isTerminal) this.#draw();
      else this.options.stream.write(`${this.line(Number.POSITIVE_INFINITY)}\n`);
      this.#schedule();
    });
  }

  #sample(): void {
    const atMs = this.options.clock.nowMs();
    this.#samples.push({ atMs, doneBytes: this.#doneBytes });
    // The oldest sample is kept until its successor is old enough too, so the window never gets shorter than it says.
    while (this.#samples.length > 2 && atMs - (this.#samples[1]?.atMs ?? atMs) >= RATE_WINDOW_MS) {
      this.#samples.shift();
    }
  }

  #clearLine(): void {
    if (this.#lineIsOpen) this.options.stream.write(`\r${ERASE_REST}`);
    this.#lineIsOpen = false;
  }

  #draw(): void {
    const { stream } = this.options;
    stream.write(`\r${this.line(lineColumns(stream))}${ERASE_REST}`);
    this.#lineIsOpen = true;
  }

  /** The line as it is drawn into `columns` columns. */
  line(columns: number): string {
    const { label, totalBytes } = this.options;
    const share = totalBytes === 0 ? 1 : Math.min(1, this.#doneBytes / totalBytes);
    // Rounded down: 100 % is not shown before everything is done.
    const percent = `${(Math.floor(share * 1000) / 10).toFixed(1)} %`.padStart(7);
    const amounts = `${formatBytes(this.#doneBytes)} of ${formatBytes(totalBytes)}`;
    const tail = `${percent}  ${amounts}  ${this.#isFinished ? this.#summary() : (this.#remark ?? this.#speed())}`;
    const barColumns = Number.isFinite(columns) ? Math.min(BAR_COLUMNS_MAX, columns - TEXT_COLUMNS) : 0;
    const bar = barColumns < BAR_COLUMNS_MIN ? '' : ` [${drawBar(share, barColumns)}]`;
    const line = `${label}${bar} ${tail}`;
    return line.length > columns ? line.slice(0, Math.max(0, columns)) : line;
  }

  #speed(): string {
    const bytesPerSecond = this.#rate();
    if (bytesPerSecond === null) return '';
    const leftBytes = Math.max(0, this.options.totalBytes - this.#doneBytes);
    if (leftBytes === 0) return formatRate(bytesPerSecond);
    const left = bytesPerSecond > 0 ? `${formatSeconds(leftBytes / bytesPerSecond)} left` : 'stalled';
    return `${formatRate(bytesPerSecond)}  ${left}`;
  }

  /** Of all of it, for the line that stays. */
  #summary(): string {
    const seconds = (this.options.clock.nowMs() - this.#startMs) / 1000;
    const bytes = this.#doneBytes - this.#startBytes;
    return seconds > 0 ? `${formatSeconds(seconds)}  ${formatRate(bytes / seconds)}` : '';
  }

  #rate(): number | null {
    const [first] = this.#samples;
    const last = this.#samples.at(-1);
    if (first === undefined || last === undefined || last.atMs === first.atMs) return null;
    return ((last.doneBytes - first.doneBytes) / (last.atMs - first.atMs)) * 1000;
  }
}

function drawBar(share: number, columns: number): string {
  const full = Math.floor(share * columns);
  return '#'.repeat(full) + '.'.repeat(columns - full);
}
