import type { SweepProgress } from '../mirror/sweep/sweep.js';

/** How far a long work is. */
export interface ProgressStatus {
  /** 0 to 99, rounded down: 100 would be the end. */
  readonly percent: number;
  /** Done, of totalBytes; what was found equal counts too. */
  readonly copiedBytes: number;
  readonly totalBytes: number;
  readonly leftBytes: number;
  /** Of the last ten seconds; null while nothing is known. */
  readonly rateBytesPerSecond: number | null;
  /** Null while nothing is known, and when nothing goes on. */
  readonly leftSeconds: number | null;
}

export function shownProgress({ doneBytes, ...rest }: SweepProgress): ProgressStatus {
  const share = rest.totalBytes === 0 ? 1 : doneBytes / rest.totalBytes;
  return { percent: Math.min(99, Math.floor(share * 100)), copiedBytes: doneBytes, ...rest };
}
