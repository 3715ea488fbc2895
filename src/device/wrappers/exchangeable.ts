import type { BlockDevice, BlockIo, Capabilities, DeviceError } from '../block-device.js';
import { PassedOnIo } from './passed-on-io.js';

/**
 * A device in whose place another one can be put while somebody uses it: hold() lets what is under way end and keeps what
 * comes, resume() goes on with the same device or another one. What it keeps is bounded by what its users have under way.
 */
export class ExchangeableDevice implements BlockDevice {
  #inFlight = 0;
  /** Null while requests go through. */
  #held: BlockIo[] | null = null;
  #whenQuiet: (() => void) | null = null;
  /** There is no device any more: why. */
  #failure: DeviceError | null = null;
  /** Of writes that were answered as good: the next flush of a user tells it. */
  #owed: DeviceError | null = null;

  /** `cameAlone` is told of each request that comes while none is under way. */
  constructor(
    private device: BlockDevice,
    private readonly cameAlone: () => void = () => undefined,
  ) {}

  get name(): string {
    return this.device.name;
  }

  get mediaSizeBytes(): number {
    return this.device.mediaSizeBytes;
  }

  get sectorSizeBytes(): number {
    return this.device.sectorSizeBytes;
  }

  get can(): Capabilities {
    return this.device.can;
  }

  start(io: BlockIo): void {
    const failure = this.#failure;
    if (failure !== null) queueMicrotask(() => io.done(failure));
    else if (this.#held !== null) this.#held.push(io);
    else {
      if (this.#inFlight === 0) this.cameAlone();
      this.#inFlight += 1;
      this.device.start(new CountedIo(io, this.#finished));
    }
  }

  /** Resolves when nothing is under way. Not twice without a resume() between. */
  async hold(): Promise<void> {
    this.#held = [];
    if (this.#inFlight > 0) await new Promise<void>((resolve) => (this.#whenQuiet = resolve));
  }

  /** After hold(). What is larger or can do other things than before is told to users that come. */
  resume(device: BlockDevice = this.device): void {
    this.device = device;
    this.#release();
  }

  /** After hold(): no device will be there any more. */
  fail(error: DeviceError): void {
    this.#failure = error;
    this.#release();
  }

  /** A flush that no user has asked for has failed. */
  owe(error: DeviceError): void {
    this.#owed = error;
  }

  close(): Promise<void> {
    return this.device.close();
  }

  #release(): void {
    const held = this.#held ?? [];
    this.#held = null;
    for (const io of held) this.start(io);
  }

  readonly #finished = (io: BlockIo, error: DeviceError | null): void => {
    this.#inFlight -= 1;
    if (this.#inFlight === 0) this.#whenQuiet?.();
    if (io.op !== 'flush') io.done(error);
    else {
      const told = error ?? this.#owed;
      this.#owed = null;
      io.done(told);
    }
  };
}

class CountedIo extends PassedOnIo {
  constructor(
    io: BlockIo,
    private readonly finished: (io: BlockIo, error: DeviceError | null) => void,
  ) {
    super(io);
  }

  done(error: DeviceError | null): void {
    this.finished(this.io, error);
  }
}
