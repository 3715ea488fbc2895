import type { Clock, Timer } from '../../device/clock.js';
import { lineColumns, type ProgressStream } from '../progress.js';
import { formatBytes, formatCount } from '../units.js';
import type { Load } from './load.js';

const INTERVAL_MS = 500;
const ERASE_REST = '\u001b[K';

export interface WatchOptions {
  readonly clock: Clock;
  readonly stream: ProgressStream;
  readonly blockBytes: number;
  /** Has the connection's state told to a function. */
  readonly watch: (onStatus: (text: string | null) => void) => void;
}

/** Shows on a terminal how a load goes, in one line; elsewhere nothing. Returns what ends it and takes the line away. */
export function watchLoad(load: Load, durationMs: number, options: WatchOptions): () => void {
  const { clock, stream } = options;
  if (stream.isTTY !== true) return () => undefined;
  const startMs = clock.nowMs();
  let timer: Timer | null = null;
  let status: string | null = null;
  let earlier = { atMs: startMs, ops: 0 };
  options.watch((text) => (status = text));
  const draw = (): void => {
    const now = { atMs: clock.nowMs(), ops: load.totals.reads + load.totals.writes };
    const opsPerSecond = ((now.ops - earlier.ops) / (now.atMs - earlier.atMs)) * 1000;
    earlier = now;
    const seconds = `${((now.atMs - startMs) / 1000).toFixed(0)} s of ${(durationMs / 1000).toFixed(0)} s`;
    const speed = `${formatCount(opsPerSecond)} ops/s  ${formatBytes(opsPerSecond * options.blockBytes)}/s`;
    const line = `bench  ${load.isChecking ? 'reading back what was written' : seconds}  ${status ?? speed}`;
    stream.write(`\r${line.slice(0, lineColumns(stream))}${ERASE_REST}`);
    timer = clock.after(INTERVAL_MS, draw);
  };
  timer = clock.after(INTERVAL_MS, draw);
  return () => {
    timer?.cancel();
    stream.write(`\r${ERASE_REST}`);
  };
}
