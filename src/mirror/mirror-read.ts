import type { BlockIo, BlockOp, DeviceError } from '../device/block-device.js';
import { assert } from '../protocol/errors.js';
import type { Component, ComponentIo } from './component.js';

/** What a read needs of its mirror. */
export interface ReadHost {
  /** Where a read goes that none of `failed` could answer; null when nobody is left. */
  chooseOther(read: MirrorRead, failed: readonly Component[]): Component | null;
  /** For the balance: called at start and end of each attempt. */
  readStarted(component: Component, read: MirrorRead): void;
  readDone(component: Component): void;
  /** `component` failed a read that others answered (or nobody did): repair the range there, or drop it. */
  readFailed(component: Component, read: MirrorRead, error: DeviceError, isAnswered: boolean): void;
}

/**
 * One read, or checksum, from one component; from the next one if that fails. The failed ones are told to the mirror
 * when it is known whether the data could be had.
 */
export class MirrorRead implements ComponentIo {
  readonly op: BlockOp;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly buffer: Buffer | null;
  readonly bufferAt: number;
  #failed: Component[] | null = null;
  #errors: DeviceError[] | null = null;

  constructor(
    private readonly host: ReadHost,
    private readonly io: BlockIo,
  ) {
    this.op = io.op;
    this.offsetBytes = io.offsetBytes;
    this.lengthBytes = io.lengthBytes;
    this.buffer = io.buffer;
    this.bufferAt = io.bufferAt;
  }

  start(component: Component): void {
    this.host.readStarted(component, this);
    component.start(this);
  }

  answered(component: Component, error: DeviceError | null): void {
    this.host.readDone(component);
    if (error === null) {
      this.#tell(true);
      this.io.done(null);
      return;
    }
    this.#failed ??= [];
    this.#errors ??= [];
    this.#failed.push(component);
    this.#errors.push(error);
    const next = this.host.chooseOther(this, this.#failed);
    if (next !== null) {
      this.start(next);
      return;
    }
    this.#tell(false);
    const [first] = this.#errors;
    assert(first !== undefined, 'mirror read: failed without an error');
    this.io.done(first);
  }

  #tell(isAnswered: boolean): void {
    if (this.#failed === null || this.#errors === null) return;
    this.#failed.forEach((component, index) => {
      const error = this.#errors?.[index];
      if (error !== undefined) this.host.readFailed(component, this, error, isAnswered);
    });
  }
}
