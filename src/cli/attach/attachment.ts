import type { Way } from './record.js';

/** A block device of a mirror. */
export interface Attachment {
  readonly way: Way;
  readonly device: string;
  /** Of its file system, in the order of mounting. */
  readonly mountPoints: readonly string[];
}

/** 'is attached at /dev/loop3 and mounted on /srv'. */
export function attachedText({ device, mountPoints }: Attachment): string {
  const at = device === '' ? 'is half attached' : `is attached at ${device}`;
  return mountPoints.length === 0 ? at : `${at} and mounted on ${mountPoints.join(' and ')}`;
}
