import type { BlockDevice, BlockIo, Capabilities, DeviceError } from '../block-device.js';
import { PassedOnIo } from './passed-on.js';

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
  /** Of writes that were answered as good: the next flush of a user tells it, and so do all that are under way by then. */
  #owed: DeviceError | null = null;
  readonly #flushes = new Set<CountedIo>();

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
      const counted = new CountedIo(io, this.#finished);
      if (io.op === 'flush') this.#flushes.add(counted);
      this.device.start(counted);
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

  readonly #finished = (counted: CountedIo, error: DeviceError | null): void => {
    this.#inFlight -= 1;
    if (this.#inFlight === 0) this.#whenQuiet?.();
    if (counted.op === 'flush') this.#tellOwed();
    this.#flushes.delete(counted);
    counted.end(error);
  };

  #tellOwed(): void {
    for (const flush of this.#flushes) flush.owed ??= this.#owed;
    this.#owed = null;
  }
}

class CountedIo extends PassedOnIo {
  owed: DeviceError | null = null;

  constructor(
    io: BlockIo,
    private readonly finished: (counted: CountedIo, error: DeviceError | null) => void,
  ) {
    super(io);
  }

  done(error: DeviceError | null): void {
    this.finished(this, error);
  }

  end(error: DeviceError | null): void {
    this.io.done(error ?? this.owed);
  }
}
