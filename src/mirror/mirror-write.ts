import type { BlockIo, BlockOp, DeviceError } from '../device/block-device.js';
import { assert } from '../protocol/errors.js';
import type { ActivityLog, LogEntrant } from './activity-log.js';
import type { Component, ComponentIo } from './component.js';
import type { RangeHolder, RangeLocks } from './range-locks.js';

/** A component's failure in one request. */
export interface Failure {
  readonly component: Component;
  readonly error: DeviceError;
}

/** What a write needs of its mirror. */
export interface WriteHost {
  readonly locks: RangeLocks;
  readonly log: ActivityLog;
  /** Those that take writes now. */
  readonly targets: readonly Component[];
  /** Those that miss what is written now. */
  readonly absent: readonly Component[];
  /** A loss is not recorded yet; until then nothing is answered. */
  readonly mustWait: boolean;
  /** Before anything is written, a new generation may have to begin. */
  readonly journal: { readonly mustBegin: boolean; beginGeneration(): Promise<void> };
  /** See settleWrite(). */
  settle(write: MirrorWrite, failures: readonly Failure[], good: number): Promise<DeviceError | null>;
  /** A write has come; one that is a piece of a longer one, too. */
  began(): void;
  /** It is answered. */
  ended(): void;
}

/**
 * One write, or write-zeroes, from the caller to every component. In order: the range is locked, its extents are hot on
 * stable storage, the generation is one that nobody else has, the components that miss it are marked, those that are
 * there are sent it, those that failed are dropped durably, the caller is answered (promises 1, 2 and 5 of the mirror).
 */
export class MirrorWrite implements RangeHolder, LogEntrant, ComponentIo {
  readonly op: BlockOp;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly buffer: Buffer | null;
  readonly bufferAt: number;
  #waiting = 0;
  /** ACTIVE components that took it. */
  #good = 0;
  #failures: Failure[] | null = null;
  #isInLog = false;

  constructor(
    private readonly host: WriteHost,
    private readonly io: BlockIo,
  ) {
    // A trimmed range may read as anything, and as something else on each component; zeroes keep them identical.
    this.op = io.op === 'trim' ? 'write-zeroes' : io.op;
    this.offsetBytes = io.offsetBytes;
    this.lengthBytes = io.lengthBytes;
    this.buffer = io.buffer;
    this.bufferAt = io.bufferAt;
  }

  start(): void {
    this.host.began();
    if (this.host.locks.acquire(this)) this.granted();
  }

  granted(): void {
    if (this.host.log.enter(this)) this.entered(null);
  }

  entered(error: DeviceError | null): void {
    if (error !== null) {
      this.#end(error);
      return;
    }
    this.#isInLog = true;
    if (this.host.journal.mustBegin) this.#awaitGeneration();
    else this.#send();
  }

  #awaitGeneration(): void {
    this.host.journal.beginGeneration().then(
      () => (this.host.journal.mustBegin ? this.#awaitGeneration() : this.#send()),
      (error: unknown) => this.#end(error as DeviceError),
    );
  }

  #send(): void {
    const { targets, absent } = this.host;
    assert(targets.length > 0, 'mirror: a write without a component');
    for (const component of absent) component.missing.mark(this);
    this.#waiting = targets.length;
    // The mirror may have another list before this one is walked: a component can fail inside start().
    for (const component of targets) {
      if (component.takesData) component.start(this);
      else {
        component.missing.mark(this);
        this.#waiting -= 1;
      }
    }
    if (this.#waiting === 0) this.#settle();
  }

  answered(component: Component, error: DeviceError | null): void {
    assert(this.#waiting > 0, 'mirror write: an answer after the last one');
    // Of one that failed parts may be there.
    if (component.isConnected) component.unflushed.mark(this);
    if (error === null) {
      if (component.state === 'ACTIVE') this.#good += 1;
    } else {
      this.#failures ??= [];
      this.#failures.push({ component, error });
    }
    this.#waiting -= 1;
    if (this.#waiting === 0) this.#settle();
  }

  #settle(): void {
    if (this.#failures === null && !this.host.mustWait) {
      this.#end(null);
      return;
    }
    this.#failures ??= [];
    const settled = this.host.settle(this, this.#failures, this.#good);
    // Parts of it may be there, so who was dropped for it differs whatever becomes of the write. Not before the drop: the
    // end of a resync could still take the mark away.
    for (const { component } of this.#failures) if (!component.takesWrites) component.missing.mark(this);
    settled.then(
      (error) => this.#end(error),
      (error: unknown) => this.#end(error as DeviceError),
    );
  }

  #end(error: DeviceError | null): void {
    if (this.#isInLog) this.host.log.leave(this);
    this.host.locks.release(this);
    this.host.ended();
    this.io.done(error);
  }
}
