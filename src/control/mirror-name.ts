import { LABEL_NAME_BYTES_MAX } from '../protocol/gmirror-label.js';

/** Why a mirror can't have this name, as a clause whose subject is the name; null if it can. */
export function nameProblem(name: string): string | null {
  if (name === '') return 'is empty';
  if (Buffer.byteLength(name) > LABEL_NAME_BYTES_MAX)
    return `is longer than ${LABEL_NAME_BYTES_MAX} bytes, which is all that a label has room for`;
  const becomes = 'it becomes the name of a device, and of files of the daemon';
  if (!/^[\x21-\x7e]+$/.test(name) || name.includes('/'))
    return `has blanks, slashes or unprintable characters, or other letters than ASCII's; ${becomes}`;
  return name.startsWith('.') ? `begins with a dot; ${becomes}` : null;
}
