import type { DeviceError } from '../device/block-device.js';

/**
 * A flush that failed and that the client may not have heard of. A device tells of such a failure once, and what was to be
 * written is perhaps never tried again; so the next session's first good flush fails in its place. One for each device.
 */
export class FlushDebt {
  #owed: DeviceError | null = null;

  get isOwed(): boolean {
    return this.#owed !== null;
  }

  owe(error: DeviceError): void {
    this.#owed = error;
  }

  /** What a flush that was good has to fail with; null if nothing is owed. Nothing is owed any more. */
  pay(): DeviceError | null {
    const owed = this.#owed;
    this.#owed = null;
    return owed;
  }
}
