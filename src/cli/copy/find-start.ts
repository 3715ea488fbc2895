import { requireYes } from '../question.js';
import type { Interrupt } from '../interrupt.js';
import { formatBytes } from '../units.js';
import { compareEnds } from './compare.js';
import type { CopyEnd } from './end.js';
import { isSamePair, isUntouched, loadState } from './resume.js';

export interface FindStartOptions {
  readonly source: CopyEnd;
  readonly target: CopyEnd;
  readonly statePath: string;
  readonly interrupt: Interrupt;
  /** Shows that so many bytes are about to be compared; returns who hears how far it is. */
  readonly comparing: (totalBytes: number) => (bytes: number) => void;
  readonly note: (text: string) => void;
}

/**
 * Where an earlier, unfinished copy may be taken up: 0 when there was none. Its state must name the same two ends. Two
 * files that nobody has written to since are believed; in every other case what was copied is compared, and a single
 * difference means that the copy starts at the beginning, as if there had been no state. Throws DeviceError,
 * InterruptedError.
 */
export async function findStart(options: FindStartOptions): Promise<number> {
  const { source, target, statePath, note } = options;
  const state = loadState(statePath);
  if (state === null || state.safeBytes === 0) return 0;
  const identities = [await source.identify(), await target.identify()] as const;
  if (!isSamePair(state, ...identities)) {
    note(`note: ${statePath} is of another copy and is not used`);
    return 0;
  }
  const safeBytes = Math.min(state.safeBytes, source.device.mediaSizeBytes);
  const reached = `${formatBytes(safeBytes)} of ${formatBytes(source.device.mediaSizeBytes)}`;
  if (isUntouched(state, ...identities)) {
    note(`going on from an earlier run at ${reached}`);
    return safeBytes;
  }
  note(`an earlier run has copied ${reached}; comparing that before going on`);
  if (await isEqualBelow(safeBytes, options)) return safeBytes;
  note('what the earlier run copied differs now; starting at the beginning');
  return 0;
}

async function isEqualBelow(lengthBytes: number, options: FindStartOptions): Promise<boolean> {
  const { source, target, interrupt } = options;
  const range = { offsetBytes: 0, lengthBytes };
  const advanced = options.comparing(lengthBytes);
  const comparison = await compareEnds({ source, target, range, advanced, interrupt, stopsEarly: true });
  return comparison.differentRegions === 0;
}

/** Throws CommandError unless the target is known to hold nothing, or a person says that it may be overwritten. */
export async function refuseUsed(
  target: CopyEnd,
  names: { readonly from: string; readonly to: string },
  describeUse: (target: CopyEnd) => Promise<string | null>,
): Promise<void> {
  if (target.isFresh) return;
  const use = await describeUse(target);
  if (use === null) return;
  await requireYes({
    says: [`${names.to} ${use}; all of it is overwritten with ${names.from}.`],
    refusal:
      `${names.to} ${use}. Copying would overwrite ${names.to} with ${names.from}; ` +
      `if that is what you want, add --force`,
  });
}
