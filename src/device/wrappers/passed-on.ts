import type { BlockDevice, BlockIo, BlockOp, DeviceError } from '../block-device.js';

/** `parent`, but that `start` has every request first, and passes it on. */
export const withStart = (parent: BlockDevice, start: BlockDevice['start']): BlockDevice => ({
  name: parent.name,
  mediaSizeBytes: parent.mediaSizeBytes,
  sectorSizeBytes: parent.sectorSizeBytes,
  get can() {
    return parent.can;
  },
  start,
  close: () => parent.close(),
});

/** A request on its way to another device, where it may begin elsewhere; what its end means is for whoever passes it on. */
export abstract class PassedOnIo implements BlockIo {
  readonly op: BlockOp;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly buffer: Buffer | null;
  readonly bufferAt: number;

  constructor(
    protected readonly io: BlockIo,
    offsetBytes = io.offsetBytes,
  ) {
    this.op = io.op;
    this.offsetBytes = offsetBytes;
    this.lengthBytes = io.lengthBytes;
    this.buffer = io.buffer;
    this.bufferAt = io.bufferAt;
  }

  /** In the end it calls that of `io`. */
  abstract done(error: DeviceError | null): void;
}
