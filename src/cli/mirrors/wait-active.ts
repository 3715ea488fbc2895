import type { Command } from 'commander';
import type { ComponentStatus, MirrorStatus } from '../../control/status.js';
import { systemClock } from '../../device/clock.js';
import { CommandError, InterruptedError, UsageError } from '../errors.js';
import { delayUnless, withSignals, type Interrupt } from '../interrupt.js';
import { Progress } from '../progress.js';
import { parseSeconds } from '../units.js';
import { askStatus, type RunDirFlags } from './run-dir.js';
import { troubleText } from './status-text.js';

const POLL_MS = 200;

export interface WaitFlags {
  readonly wait?: boolean;
  readonly waitLimit?: number;
}

export const addWaitOptions = (command: Command, says: string): Command =>
  command
    .option('--wait', says)
    .option('--wait-limit <seconds>', 'with --wait: no longer than this', parseSeconds);

/** Throws UsageError for a limit of no waiting. */
export function limitMsOf({ wait: isWaiting, waitLimit }: WaitFlags): number | null {
  if (waitLimit === undefined) return null;
  if (isWaiting !== true) throw new UsageError('--wait-limit is for --wait');
  return waitLimit * 1000;
}

export interface WaitOptions {
  /** Of the mirror, without 'mirror/'. */
  readonly name: string;
  readonly flags: RunDirFlags;
  /** Of the progress: one word. */
  readonly label: string;
  /** Those that are to be ACTIVE. Throws CommandError if they are gone. */
  readonly wanted: (status: MirrorStatus) => readonly ComponentStatus[];
  /** Null for no limit. */
  readonly limitMs: number | null;
}

/**
 * Waits until components of a running mirror are ACTIVE, and shows how far copying is. Throws CommandError when they
 * can't become so by themselves, or not within the limit, and InterruptedError; the mirror goes on in any case.
 */
export async function waitUntilActive(options: WaitOptions): Promise<void> {
  await withSignals(async (interrupt) => {
    const shown = new CopyProgress(options.label);
    try {
      await wait(options, interrupt, shown);
    } finally {
      shown.finish();
    }
  });
}

async function wait(options: WaitOptions, interrupt: Interrupt, shown: CopyProgress): Promise<void> {
  const { name, flags, wanted, limitMs } = options;
  const startMs = systemClock.nowMs();
  for (;;) {
    const status = await askStatus(name, flags);
    const components = wanted(status);
    const left = components.filter(({ state }) => state !== 'ACTIVE');
    if (left.length === 0) return;
    const how = `mirror/${name} is ${status.state}: ${left.map(troubleText).join(', ')}`;
    if (left.every((one) => isStuck(one, status))) throw new CommandError(how);
    if (limitMs !== null && systemClock.nowMs() - startMs >= limitMs) {
      throw new CommandError(`${how}; that is not waited for any longer`);
    }
    if (interrupt.signalNumber !== null) {
      throw new InterruptedError(`interrupted; the mirror goes on. ${how}`, interrupt.signalNumber);
    }
    shown.show(left);
    await delayUnless(interrupt, POLL_MS);
  }
}

/** Only a person can help: nothing is tried any more. */
export const isStuck = (
  { isInactive, state, refused }: ComponentStatus,
  { isAutosync }: Pick<MirrorStatus, 'isAutosync'>,
): boolean => isInactive || refused !== null || (state === 'STALE' && !isAutosync);

/** All copies that run, as one. Begins anew when one joins or ends. */
class CopyProgress {
  #progress: Progress | null = null;
  #totalBytes = 0;
  #shownBytes = 0;

  constructor(private readonly label: string) {}

  show(components: readonly ComponentStatus[]): void {
    const copies = components.flatMap(({ resync }) =>
      resync === null || resync.totalBytes === 0 ? [] : [resync],
    );
    if (copies.length === 0) {
      this.#progress?.remark(components.find(({ why }) => why !== null)?.why ?? 'waiting');
      return;
    }
    const totalBytes = sum(copies.map((copy) => copy.totalBytes));
    const copiedBytes = sum(copies.map((copy) => copy.copiedBytes));
    if (this.#progress === null || totalBytes !== this.#totalBytes) {
      this.finish();
      const options = { clock: systemClock, stream: process.stderr, label: this.label, totalBytes };
      this.#progress = new Progress(options, copiedBytes);
      [this.#totalBytes, this.#shownBytes] = [totalBytes, copiedBytes];
    }
    this.#progress.remark(null);
    this.#progress.advance(copiedBytes - this.#shownBytes);
    this.#shownBytes = copiedBytes;
  }

  finish(): void {
    this.#progress?.finish(false);
    this.#progress = null;
  }
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, one) => total + one, 0);
