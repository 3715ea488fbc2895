import { systemClock } from '../../device/clock.js';
import type { Interrupt } from '../interrupt.js';
import { Progress, type ProgressStream } from '../progress.js';
import { compareEnds, type Comparison } from './compare.js';
import type { CopyTotals } from './copier.js';
import type { CopyEnd } from './end.js';
import { findStart, refuseUsed } from './find-start.js';
import { removeState } from './resume.js';
import { CopyRun } from './run.js';

export interface CopySettings {
  /** As typed, for messages. */
  readonly names: { readonly from: string; readonly to: string };
  readonly source: CopyEnd;
  readonly target: CopyEnd;
  readonly statePath: string;
  readonly depth: number;
  readonly chunkBytes: number;
  /** Overwrite whatever the target holds. */
  readonly force: boolean;
  /** Don't take up an earlier run. */
  readonly restart: boolean;
  readonly dense: boolean;
  readonly verify: boolean;
  readonly describeUse: (target: CopyEnd) => Promise<string | null>;
  readonly interrupt: Interrupt;
  /** Null to show no progress; notes then go nowhere. */
  readonly stream: ProgressStream | null;
}

export interface CopySummary extends CopyTotals {
  readonly mediaSizeBytes: number;
  /** Where the run began; not 0 when it took up an earlier one. */
  readonly startBytes: number;
  readonly seconds: number;
  readonly reconnects: number;
  /** False for a target without flush: nobody knows when its data will be durable. */
  readonly isDurable: boolean;
  /** Null when it was not asked for. */
  readonly verified: Comparison | null;
}

/**
 * One copy from beginning to end: take up an earlier run or make sure that the target is free, copy, flush, compare.
 * Throws DeviceError, CommandError, InterruptedError.
 */
export async function copyEnds(settings: CopySettings): Promise<CopySummary> {
  const display = new Display(settings);
  try {
    return await copyWithDisplay(settings, display);
  } finally {
    display.end(false);
  }
}

async function copyWithDisplay(settings: CopySettings, display: Display): Promise<CopySummary> {
  const { source, target, statePath, interrupt } = settings;
  const startedMs = systemClock.nowMs();
  const note = (text: string): void => display.note(text);
  const startBytes = settings.restart
    ? 0
    : await findStart({
        source,
        target,
        statePath,
        interrupt,
        note,
        comparing: (totalBytes) => display.begin('compare', totalBytes, 0),
      });
  display.end(false);
  if (startBytes === 0 && !settings.force) await refuseUsed(target, settings.names, settings.describeUse);
  const run = new CopyRun({
    ...settings,
    isDense: settings.dense,
    startBytes,
    clock: systemClock,
    note,
    advanced: display.begin('copy', source.device.mediaSizeBytes, startBytes),
  });
  await run.run();
  removeState(statePath);
  display.end(true);
  const seconds = (systemClock.nowMs() - startedMs) / 1000;
  return {
    mediaSizeBytes: source.device.mediaSizeBytes,
    startBytes,
    ...run.totals,
    seconds,
    isDurable: target.device.can.flush,
    verified: settings.verify ? await verify(settings, display) : null,
    reconnects: source.reconnectCount() + target.reconnectCount(),
  };
}

async function verify({ source, target, interrupt }: CopySettings, display: Display): Promise<Comparison> {
  const range = { offsetBytes: 0, lengthBytes: source.device.mediaSizeBytes };
  const advanced = display.begin('verify', range.lengthBytes, 0);
  // A file that was made for this copy is no longer empty.
  const filled = { ...target, isFresh: false };
  const comparison = await compareEnds({
    source,
    target: filled,
    range,
    advanced,
    interrupt,
    stopsEarly: false,
  });
  display.end(true);
  return comparison;
}

/** One progress line after the other, and the notes between them. */
class Display {
  #progress: Progress | null = null;
  readonly #stream: ProgressStream | null;

  constructor({ source, target, stream }: CopySettings) {
    this.#stream = stream;
    for (const end of [source, target]) end.watch((text) => this.#progress?.remark(text));
  }

  begin(label: string, totalBytes: number, startBytes: number): (bytes: number) => void {
    this.end(false);
    const stream = this.#stream;
    if (stream === null) return () => undefined;
    const progress = new Progress({ clock: systemClock, stream, label, totalBytes }, startBytes);
    this.#progress = progress;
    return (bytes) => progress.advance(bytes);
  }

  note(text: string): void {
    if (this.#progress !== null) this.#progress.note(text);
    else this.#stream?.write(`${text}\n`);
  }

  end(keep: boolean): void {
    this.#progress?.finish(keep);
    this.#progress = null;
  }
}
