import type { Command } from 'commander';
import { NotRunningError } from '../../control/control-client.js';
import type { ComponentStatus, MirrorStatus } from '../../control/status.js';
import { systemClock } from '../../device/clock.js';
import { CommandError, InterruptedError, UsageError } from '../errors.js';
import { delayUnless, withSignals, type Interrupt } from '../interrupt.js';
import { writeQuietly } from '../output.js';
import { Progress } from '../progress.js';
import { parseSeconds } from '../units.js';
import { askStatus, type RunDirFlags } from './run-dir.js';
import { troubleText } from './status-text.js';

const POLL_MS = 200;

/** A mirror that waited for its components can't be asked for a moment when it begins to run. */
const MISSES_MAX = 15;

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
  /** Left out: asks the mirror. */
  readonly look?: () => Promise<MirrorStatus>;
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
  const { name, flags, wanted, limitMs, look = () => askStatus(name, flags) } = options;
  const startMs = systemClock.nowMs();
  let status: MirrorStatus | null = null;
  let misses = 0;
  for (;;) {
    try {
      status = await look();
      misses = 0;
    } catch (error) {
      const isBetween = status?.state === 'STARTING' && isNobodyThere(error) && misses < MISSES_MAX;
      if (status === null || !isBetween) throw error;
      misses += 1;
    }
    const { state } = status;
    const left = wanted(status).filter((one) => one.state !== 'ACTIVE');
    if (left.length === 0) return;
    const how = `mirror/${name} is ${state}: ${left.map(troubleText).join(', ')}`;
    if (left.every(isStuckIn(status))) throw new CommandError(how);
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

/** The component of that name or UUID. Throws CommandError. */
export function componentOf({ name, components }: MirrorStatus, wanted: string): ComponentStatus {
  const found = components.find((one) => [one.name, one.uuid].includes(wanted));
  if (found !== undefined) return found;
  throw new CommandError(`mirror/${name} has no component ${wanted} any more`);
}

const isStuckIn =
  (status: MirrorStatus) =>
  (component: ComponentStatus): boolean =>
    isStuck(component, status);

const isNobodyThere = (error: unknown): boolean =>
  error instanceof Error && error.cause instanceof NotRunningError;

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
  #said = '';

  constructor(private readonly label: string) {}

  show(components: readonly ComponentStatus[]): void {
    const copies = components.flatMap(({ resync }) =>
      resync === null || resync.totalBytes === 0 ? [] : [resync],
    );
    if (copies.length === 0) {
      this.#say(components);
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

  /** Nothing is copied. */
  #say(components: readonly ComponentStatus[]): void {
    const text = `waiting for ${components.map(troubleText).join(', ')}`;
    if (text === this.#said) return;
    this.#said = text;
    if (this.#progress === null) writeQuietly(process.stderr, `${text}\n`);
    else this.#progress.note(text);
  }

  finish(): void {
    this.#progress?.finish(false);
    this.#progress = null;
  }
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, one) => total + one, 0);
