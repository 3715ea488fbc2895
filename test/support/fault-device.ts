import {
  DeviceError,
  type BlockDevice,
  type BlockIo,
  type Capabilities,
  type DeviceErrorCode,
} from '../../src/device/block-device.js';
import { assertStartable } from '../../src/device/check-io.js';
import type { ErrnoName } from '../../src/protocol/errno.js';

/** What happens to a request instead of the ordinary. */
export type Fault =
  /** It fails and nothing of it takes effect. */
  | { readonly kind: 'fail'; readonly errno: ErrnoName; readonly code?: DeviceErrorCode }
  /** A write of which only the first bytes take effect, then it fails with EIO. Whole sectors, at least one. */
  | { readonly kind: 'tear'; readonly keptBytes: number }
  /** It succeeds, and nothing of it takes effect. */
  | { readonly kind: 'forget' }
  /** It waits for release(), then goes on as usual. */
  | { readonly kind: 'hold' };

/** Passes requests on, except for those that the plan has a fault for. */
export class FaultDevice implements BlockDevice {
  readonly name: string;
  readonly mediaSizeBytes: number;
  readonly sectorSizeBytes: number;
  readonly can: Capabilities;
  /** Decides for each request; null lets it through. May be replaced at any time. */
  plan: (io: BlockIo) => Fault | null;
  #held: BlockIo[] = [];
  #inFlight = 0;
  #whenIdle: (() => void) | null = null;
  #closing: Promise<void> | null = null;

  constructor(
    private readonly parent: BlockDevice,
    plan: (io: BlockIo) => Fault | null = () => null,
  ) {
    this.name = parent.name;
    this.mediaSizeBytes = parent.mediaSizeBytes;
    this.sectorSizeBytes = parent.sectorSizeBytes;
    this.can = parent.can;
    this.plan = plan;
  }

  /** How many requests wait. */
  get heldCount(): number {
    return this.#held.length;
  }

  start(io: BlockIo): void {
    assertStartable(this, io);
    if (this.#closing !== null) {
      queueMicrotask(() => io.done(new DeviceError('DEVICE_CLOSED', 'EBADF', `${this.name} is closed`)));
      return;
    }
    this.#inFlight += 1;
    const fault = this.plan(io);
    if (fault === null) this.#pass(io, io.lengthBytes, null);
    else if (fault.kind === 'hold') this.#held.push(io);
    else if (fault.kind === 'forget') queueMicrotask(() => this.#finish(io, null));
    else if (fault.kind === 'tear') this.#pass(io, fault.keptBytes, this.#error('EIO'));
    else {
      const error = this.#error(fault.errno, fault.code);
      queueMicrotask(() => this.#finish(io, error));
    }
  }

  /** Lets all go on that wait, or fails them. */
  release(errno: ErrnoName | null = null): void {
    const held = this.#held;
    this.#held = [];
    for (const io of held) {
      if (errno === null) this.#pass(io, io.lengthBytes, null);
      else this.#finish(io, this.#error(errno));
    }
  }

  close(): Promise<void> {
    this.#closing ??= this.#closeWhenIdle();
    return this.#closing;
  }

  async #closeWhenIdle(): Promise<void> {
    if (this.#inFlight > 0) await new Promise<void>((resolve) => (this.#whenIdle = resolve));
    await this.parent.close();
  }

  #pass(io: BlockIo, lengthBytes: number, fault: DeviceError | null): void {
    const { op, offsetBytes, buffer, bufferAt } = io;
    const done = (error: DeviceError | null): void => this.#finish(io, error ?? fault);
    this.parent.start({ op, offsetBytes, lengthBytes, buffer, bufferAt, done });
  }

  #finish(io: BlockIo, error: DeviceError | null): void {
    this.#inFlight -= 1;
    if (this.#inFlight === 0) this.#whenIdle?.();
    io.done(error);
  }

  #error(errno: ErrnoName, code: DeviceErrorCode = 'DEVICE_IO'): DeviceError {
    return new DeviceError(code, errno, `${this.name}: a fault that the test asked for: ${errno}`);
  }
}
