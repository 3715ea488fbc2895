import type { ByteRange } from '../protocol/geometry.js';

/** What a device must still hold to be the one that it was. */
export interface ContentCheck extends ByteRange {
  /** Whether these bytes, which the range holds now, are what it may hold. */
  readonly holds: (bytes: Buffer) => boolean;
}
