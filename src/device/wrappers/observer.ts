import type { BlockDevice, BlockIo, DeviceError } from '../block-device.js';
import { PassedOnIo, withStart } from './passed-on.js';

/** Knows which request to the devices that it looks at has been under way for the longest time. */
export class Observer {
  readonly #underWay = new Set<object>();

  /** What stands for that request; null if none is under way. */
  get oldest(): object | null {
    for (const io of this.#underWay) return io;
    return null;
  }

  /** Passes everything on to `parent`. */
  lookAt(parent: BlockDevice): BlockDevice {
    const underWay = this.#underWay;
    return withStart(parent, (io) => {
      const observed = new ObservedIo(io, underWay);
      underWay.add(observed);
      parent.start(observed);
    });
  }
}

class ObservedIo extends PassedOnIo {
  constructor(
    io: BlockIo,
    private readonly underWay: Set<object>,
  ) {
    super(io);
  }

  done(error: DeviceError | null): void {
    this.underWay.delete(this);
    this.io.done(error);
  }
}
