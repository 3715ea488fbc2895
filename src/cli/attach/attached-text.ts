import type { Attachment } from './attachments.js';

/** 'is attached at /dev/loop3 and mounted on /srv'. */
export function attachedText({ device, mountPoints }: Attachment): string {
  const at = device === '' ? 'is half attached' : `is attached at ${device}`;
  return mountPoints.length === 0 ? at : `${at} and mounted on ${mountPoints.join(' and ')}`;
}
