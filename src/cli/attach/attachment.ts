import type { Way } from './record.js';

/** A block device of a mirror. */
export interface Attachment {
  readonly way: Way;
  readonly device: string;
  /** Of its file system, in the order of mounting. */
  readonly mountPoints: readonly string[];
}

/** What has become of it. */
export interface FoundAttachment extends Attachment {
  /** The daemon that it was made for has ended, or what makes it: it gives errors, and nothing but a new one helps. */
  readonly isDead: boolean;
}

/** 'is attached at /dev/loop3 and mounted on /srv'. */
export function attachedText({
  device,
  mountPoints,
  isDead = false,
}: Attachment & { isDead?: boolean }): string {
  const at = device === '' ? 'is half attached' : `is attached at ${device}`;
  const where = mountPoints.length === 0 ? at : `${at} and mounted on ${mountPoints.join(' and ')}`;
  return isDead ? `${where}, a dead device: its process, or the mirror's, has ended` : where;
}
