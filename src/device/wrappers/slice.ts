import { checksumRegions, checksumsBytes } from '../../protocol/region-checksums.js';
import { assert } from '../../protocol/errors.js';
import { REGION_SIZE_BYTES, isAligned, isInside, type ByteRange } from '../../protocol/geometry.js';
import { DeviceError, type BlockDevice, type BlockIo, type Capabilities } from '../block-device.js';
import { assertStartable } from '../check-io.js';
import { PassedOnIo } from './passed-on.js';

export interface SliceOptions {
  readonly name?: string;
  /** Whether close() of the slice closes the device under it too. True if left out. */
  readonly closesParent?: boolean;
}

/**
 * A part of another device as a device of its own. `range` is in whole sectors of the parent. The slice can do what the
 * parent can; checksums only where its regions are regions of the parent. If it ends inside of one, the last checksum is
 * reckoned here, from what is read.
 */
export function slice(parent: BlockDevice, range: ByteRange, options: SliceOptions = {}): BlockDevice {
  assert(isInside(range, parent.mediaSizeBytes), `${parent.name}: a slice outside the device`);
  assert(isAligned(range, parent.sectorSizeBytes), `${parent.name}: a slice of parts of sectors`);
  return new SliceDevice(parent, range, options);
}

class SliceDevice implements BlockDevice {
  readonly name: string;
  readonly mediaSizeBytes: number;
  readonly sectorSizeBytes: number;
  readonly can: Capabilities;
  readonly #offsetBytes: number;
  readonly #closesParent: boolean;
  /** How much of its last region the slice has, if the parent has more of it; else 0. */
  readonly #tailBytes: number;
  #inFlight = 0;
  #closing: Promise<void> | null = null;
  #whenIdle: (() => void) | null = null;

  constructor(
    private readonly parent: BlockDevice,
    range: ByteRange,
    options: SliceOptions,
  ) {
    const endBytes = range.offsetBytes + range.lengthBytes;
    this.name = options.name ?? `${parent.name} [${range.offsetBytes}, ${endBytes})`;
    this.mediaSizeBytes = range.lengthBytes;
    this.sectorSizeBytes = parent.sectorSizeBytes;
    this.#offsetBytes = range.offsetBytes;
    this.#closesParent = options.closesParent ?? true;
    const { checksum, read } = parent.can;
    const hasWholeEnd = endBytes % REGION_SIZE_BYTES === 0 || endBytes === parent.mediaSizeBytes;
    this.#tailBytes = hasWholeEnd ? 0 : endBytes % REGION_SIZE_BYTES;
    const hasRegions = range.offsetBytes % REGION_SIZE_BYTES === 0 && (hasWholeEnd || read);
    this.can = { ...parent.can, checksum: checksum && hasRegions };
  }

  start(io: BlockIo): void {
    assertStartable(this, io);
    if (this.#closing !== null) {
      queueMicrotask(() => io.done(new DeviceError('DEVICE_CLOSED', 'EBADF', `${this.name} is closed`)));
      return;
    }
    this.#inFlight += 1;
    const sliced = new SlicedIo(io, this.#offsetBytes, this.#finished);
    const endsInside = this.#tailBytes > 0 && io.offsetBytes + io.lengthBytes === this.mediaSizeBytes;
    if (io.op === 'checksum' && endsInside) startWithTail(this.parent, sliced, this.#tailBytes);
    else this.parent.start(sliced);
  }

  close(): Promise<void> {
    this.#closing ??= this.#closeWhenIdle();
    return this.#closing;
  }

  readonly #finished = (): void => {
    this.#inFlight -= 1;
    if (this.#inFlight === 0) this.#whenIdle?.();
  };

  async #closeWhenIdle(): Promise<void> {
    if (this.#inFlight > 0) await new Promise<void>((resolve) => (this.#whenIdle = resolve));
    if (this.#closesParent) await this.parent.close();
  }
}

/** A request as the parent sees it. */
class SlicedIo extends PassedOnIo {
  constructor(
    io: BlockIo,
    sliceOffsetBytes: number,
    private readonly finished: () => void,
  ) {
    super(io, io.op === 'flush' ? 0 : io.offsetBytes + sliceOffsetBytes);
  }

  done(error: DeviceError | null): void {
    this.finished();
    this.io.done(error);
  }
}

/** A checksum whose last region the parent knows only as a part of one of its own. */
function startWithTail(parent: BlockDevice, io: BlockIo, tailBytes: number): void {
  const { buffer, bufferAt, offsetBytes } = io;
  assert(buffer !== null, `${parent.name}: a checksum without a buffer`);
  const wholeBytes = io.lengthBytes - tailBytes;
  let waiting = wholeBytes > 0 ? 2 : 1;
  let failure: DeviceError | null = null;
  const done = (error: DeviceError | null): void => {
    failure ??= error;
    waiting -= 1;
    if (waiting === 0) io.done(failure);
  };
  if (wholeBytes > 0) {
    parent.start({ op: 'checksum', offsetBytes, lengthBytes: wholeBytes, buffer, bufferAt, done });
  }
  const tail = Buffer.allocUnsafe(tailBytes);
  parent.start({
    op: 'read',
    offsetBytes: offsetBytes + wholeBytes,
    lengthBytes: tailBytes,
    buffer: tail,
    bufferAt: 0,
    done(error) {
      if (error === null) checksumRegions(tail, buffer, bufferAt + checksumsBytes(wholeBytes));
      done(error);
    },
  });
}
