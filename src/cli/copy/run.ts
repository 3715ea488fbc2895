import type { Clock, Timer } from '../../device/clock.js';
import { flush } from '../../device/request.js';
import { messageOf } from '../../protocol/errors.js';
import { InterruptedError } from '../errors.js';
import { endSoonAfter, type Interrupt } from '../interrupt.js';
import { formatBytes } from '../units.js';
import { extentsOf } from './compare.js';
import { CopyWorker, type CopyTotals } from './copier.js';
import type { CopyEnd } from './end.js';
import { Extents } from './extents.js';
import { Pump } from './pump.js';
import { saveState } from './resume.js';
import { WorkList } from './work-list.js';

/** How much of the work a kill can cost. A flush more often than this would slow the copy. */
const CHECKPOINT_MS = 10_000;
/** How long an interrupted copy waits for requests in flight: a lost peer may never answer them. */
const DRAIN_MS = 3_000;

export interface CopyOptions {
  readonly source: CopyEnd;
  readonly target: CopyEnd;
  /** Requests in flight on each side, and their size: a multiple of every sector size that occurs. */
  readonly depth: number;
  readonly chunkBytes: number;
  /** Read holes and write zeros like everything else. */
  readonly isDense: boolean;
  /** Everything below was copied and flushed by an earlier run. */
  readonly startBytes: number;
  readonly statePath: string;
  readonly clock: Clock;
  readonly interrupt: Interrupt;
  /** Negative when something has to be copied again. */
  readonly advanced: (bytes: number) => void;
  /** A line for the person. */
  readonly note: (text: string) => void;
}

/**
 * Copies the source from `startBytes` on and flushes the target. Now and then what is durable is noted in the state
 * file, from which a later run goes on.
 *
 * Invariant: everything below `#safeBytes` is in the target and flushed (answered, where the target can't flush), and
 * no loss of answered writes has been reported since that was last found to be so.
 */
export class CopyRun {
  readonly totals: CopyTotals = { readBytes: 0, writtenBytes: 0, zeroedBytes: 0, skippedBytes: 0 };
  #safeBytes: number;
  #knownLosses: number;
  /** Null between passes. */
  #pump: Pump | null = null;
  /** Up to where the last pass has answers. */
  #reached = (): number => this.options.startBytes;
  #timer: Timer | null = null;
  #checkpoint: Promise<void> = Promise.resolve();
  /** A signal came, and requests in flight were not answered within the limit. */
  #isSilent = false;

  constructor(private readonly options: CopyOptions) {
    this.#safeBytes = options.startBytes;
    this.#knownLosses = options.target.lossCount();
  }

  /** Throws DeviceError; InterruptedError after a signal, with the state saved. */
  async run(): Promise<void> {
    const { target, interrupt } = this.options;
    await this.#save();
    for (;;) {
      await this.#pass();
      if (interrupt.signalNumber !== null) await this.#endInterrupted(interrupt.signalNumber);
      await this.#flush();
      if (target.lossCount() === this.#knownLosses) return;
      this.#goBack();
    }
  }

  /** Copies from the safe position on, until the end, a signal or a loss. */
  async #pass(): Promise<void> {
    const { source, target, chunkBytes, isDense, depth, interrupt } = this.options;
    const { mediaSizeBytes } = source.device;
    const extents = isDense ? Extents.allData(mediaSizeBytes) : await extentsOf(source, chunkBytes);
    const zeros = isDense
      ? Extents.allData(target.device.mediaSizeBytes)
      : await extentsOf(target, chunkBytes);
    const work = new WorkList({
      range: { offsetBytes: this.#safeBytes, lengthBytes: mediaSizeBytes - this.#safeBytes },
      chunkBytes,
      holeBytesMax: chunkBytes * 256,
      extents,
    });
    const pump = new Pump(work, this.options.advanced);
    const job = {
      source: source.device,
      target: target.device,
      chunkBytes,
      isTargetZero: (offsetBytes: number, lengthBytes: number) => zeros.isZero(offsetBytes, lengthBytes),
      totals: this.totals,
      zeros: Buffer.alloc(chunkBytes),
    };
    const workers = Array.from({ length: depth }, () => new CopyWorker(pump, job));
    const release = interrupt.onInterrupt(() => pump.stop());
    this.#pump = pump;
    this.#reached = () => pump.safeBytes;
    const limit = { clock: this.options.clock, limitMs: DRAIN_MS };
    try {
      this.#isSilent = !(await endSoonAfter(interrupt, limit, this.#pumpWithCheckpoints(pump, workers)));
    } finally {
      release();
    }
  }

  /** No checkpoint is under way any more when it settles: a late one would bring the state file back. */
  async #pumpWithCheckpoints(pump: Pump, workers: readonly CopyWorker[]): Promise<void> {
    this.#scheduleCheckpoint();
    try {
      await pump.run(workers);
    } finally {
      this.#pump = null;
      this.#timer?.cancel();
      await this.#checkpoint;
    }
  }

  #scheduleCheckpoint(): void {
    if (this.#pump === null) return;
    this.#timer = this.options.clock.after(CHECKPOINT_MS, () => {
      this.#checkpoint = this.#makeCheckpoint().then(() => this.#scheduleCheckpoint());
    });
  }

  /** A failed flush ends the copy where it counts, at its end; until then the position just stays where it was. */
  async #makeCheckpoint(): Promise<void> {
    const pump = this.#pump;
    if (pump === null) return;
    if (this.options.target.lossCount() !== this.#knownLosses) {
      pump.stop();
      return;
    }
    const reachedBytes = pump.safeBytes;
    try {
      await this.#flush();
      await this.#moveSafe(reachedBytes);
    } catch (error) {
      this.options.note(`warning: no checkpoint at ${formatBytes(reachedBytes)}: ${messageOf(error)}`);
    }
  }

  /** A remote device fails a flush that can't cover writes from before a restart; then going back is the answer. */
  async #flush(): Promise<void> {
    const { target } = this.options;
    if (!target.device.can.flush) return;
    try {
      await flush(target.device);
    } catch (error) {
      if (target.lossCount() === this.#knownLosses) throw error;
    }
  }

  /** What was answered before a flush is safe, unless the host has restarted in between. */
  async #moveSafe(reachedBytes: number): Promise<void> {
    if (this.options.target.lossCount() !== this.#knownLosses) return;
    this.#safeBytes = reachedBytes;
    await this.#save();
  }

  async #save(): Promise<void> {
    const { source, target, statePath } = this.options;
    saveState(statePath, {
      version: 1,
      source: await source.identify(),
      target: await target.identify(),
      safeBytes: this.#safeBytes,
    });
  }

  #goBack(): void {
    const reachedBytes = this.#reached();
    this.#knownLosses = this.options.target.lossCount();
    this.options.note(
      `${this.options.target.device.name}: its host has restarted or may have; what may be lost, from ` +
        `${formatBytes(this.#safeBytes)} on, is copied again`,
    );
    this.options.advanced(this.#safeBytes - reachedBytes);
  }

  async #endInterrupted(signalNumber: number): Promise<never> {
    const { interrupt, clock, source, target } = this.options;
    const reachedBytes = this.#reached();
    try {
      if (this.#isSilent) throw new Error('requests in flight are not answered');
      const flushed = this.#flush().then(() => this.#moveSafe(reachedBytes));
      if (!(await endSoonAfter(interrupt, { clock, limitMs: DRAIN_MS }, flushed))) {
        throw new Error(`${target.device.name} does not answer`);
      }
    } catch (error) {
      this.options.note(`warning: what was copied last is not flushed: ${messageOf(error)}`);
    }
    const total = formatBytes(source.device.mediaSizeBytes);
    throw new InterruptedError(
      `interrupted; ${formatBytes(this.#safeBytes)} of ${total} are safe. Run the same command again to go on from there`,
      signalNumber,
    );
  }
}
