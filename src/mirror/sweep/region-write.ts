import type { DeviceError } from '../../device/block-device.js';
import type { ByteRange } from '../../protocol/geometry.js';
import type { Component, ComponentIo } from '../component.js';
import { PIECE_BYTES } from '../limits.js';
import type { Share } from './share.js';

const ZEROES = Buffer.alloc(PIECE_BYTES);

/** Writes to a component what a share holds. Reused. */
export class RegionWrite implements ComponentIo {
  op: 'write' | 'write-zeroes' = 'write';
  offsetBytes = 0;
  lengthBytes = 0;
  buffer: Buffer | null = null;
  bufferAt = 0;

  constructor(private readonly ended: (error: DeviceError | null) => void) {}

  /** `share` holds the data of `range`, lent until the end. A hole stays a hole where the component knows how. */
  start(component: Component, share: Share, { offsetBytes, lengthBytes }: ByteRange): void {
    this.offsetBytes = offsetBytes;
    this.lengthBytes = lengthBytes;
    const at = offsetBytes - share.offsetBytes;
    const isZero = share.data.compare(ZEROES, 0, lengthBytes, at, at + lengthBytes) === 0;
    this.op = isZero && component.can.writeZeroes ? 'write-zeroes' : 'write';
    this.buffer = this.op === 'write' ? share.data : null;
    this.bufferAt = at;
    component.start(this);
  }

  answered(component: Component, error: DeviceError | null): void {
    if (error === null) component.unflushed.mark(this);
    this.ended(error);
  }
}
