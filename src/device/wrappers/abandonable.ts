import { DeviceError, type BlockDevice, type BlockIo } from '../block-device.js';

/** A device that can be given up while requests are under way. */
export interface Abandonable {
  readonly device: BlockDevice;
  /**
   * Fails every request in flight with DEVICE_TIMEOUT, in a microtask; later ones fail with DEVICE_CLOSED. From the
   * return of this on the buffers of reads are not touched any more; those of writes may still be read.
   */
  abandon(): void;
}

/** For devices that have no abandon() of their own. What is read takes a way through memory of ours. */
export function abandonable(parent: BlockDevice): Abandonable {
  const device = new AbandonableDevice(parent);
  return { device, abandon: () => device.abandon() };
}

class AbandonableDevice implements BlockDevice {
  readonly name: string;
  readonly mediaSizeBytes: number;
  readonly sectorSizeBytes: number;
  readonly #inFlight = new Set<BlockIo>();
  #isAbandoned = false;

  constructor(private readonly parent: BlockDevice) {
    this.name = parent.name;
    this.mediaSizeBytes = parent.mediaSizeBytes;
    this.sectorSizeBytes = parent.sectorSizeBytes;
  }

  get can(): BlockDevice['can'] {
    return this.parent.can;
  }

  start(io: BlockIo): void {
    if (this.#isAbandoned) {
      queueMicrotask(() => io.done(new DeviceError('DEVICE_CLOSED', 'EBADF', `${this.name} is closed`)));
      return;
    }
    this.#inFlight.add(io);
    const { op, offsetBytes, lengthBytes, buffer, bufferAt } = io;
    const fills = buffer !== null && (op === 'read' || op === 'checksum');
    // Four bytes for each region at most, and as many as are asked for in a read.
    const ours = fills ? Buffer.allocUnsafe(Math.min(lengthBytes, buffer.length - bufferAt)) : buffer;
    this.parent.start({
      op,
      offsetBytes,
      lengthBytes,
      buffer: ours,
      bufferAt: fills ? 0 : bufferAt,
      done: (error) => {
        if (!this.#inFlight.delete(io)) return;
        if (fills && error === null) ours?.copy(buffer, bufferAt);
        io.done(error);
      },
    });
  }

  abandon(): void {
    this.#isAbandoned = true;
    const given = [...this.#inFlight];
    this.#inFlight.clear();
    queueMicrotask(() => {
      const error = new DeviceError('DEVICE_TIMEOUT', 'ETIMEDOUT', `${this.name} was given up`);
      for (const io of given) io.done(error);
    });
  }

  close(): Promise<void> {
    return this.parent.close();
  }
}
