import type { Verify, VerifyState } from '../mirror/sweep/verify.js';
import { shownProgress, type ProgressStatus } from './progress-status.js';

/** What was found of one component. */
export interface VerifyFinding {
  readonly name: string;
  /** In regions of 64 KiB. */
  readonly differentBytes: number;
  /** Of these, overwritten with what the source has. */
  readonly repairedBytes: number;
  /** Could not be read, and was rewritten from another component. */
  readonly unreadableBytes: number;
  /** Starts of the lowest different regions, ten at most. */
  readonly firstOffsetsBytes: readonly number[];
}

/** A verify that runs, or that ran last. */
export interface VerifyStatus extends ProgressStatus {
  readonly state: VerifyState;
  /** The component that the others are compared with, and repaired from. */
  readonly source: string;
  readonly isRepairing: boolean;
  /** Why it failed, or null. */
  readonly why: string | null;
  /** The source too, of which only what is unreadable counts. */
  readonly components: readonly VerifyFinding[];
}

export function verifyStatusOf(verify: Verify): VerifyStatus {
  const { state, source, isRepairing, why, progress, findings } = verify;
  const shown = shownProgress(progress);
  return {
    state,
    source: source.name,
    isRepairing,
    why,
    ...shown,
    percent: state === 'complete' ? 100 : shown.percent,
    components: findings.map(({ component, ...found }) => ({
      name: component.name,
      differentBytes: found.differentBytes,
      repairedBytes: found.repairedBytes,
      unreadableBytes: found.unreadableBytes,
      firstOffsetsBytes: found.firstOffsetsBytes,
    })),
  };
}
