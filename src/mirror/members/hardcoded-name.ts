import { LABEL_NAME_BYTES_MAX } from '../../protocol/gmirror-label.js';

/** The name under which a kernel knows a disk, which is what a label can hold; null for an image, an export or a long one. */
export function kernelNameOf(provider: string): string | null {
  if (!provider.startsWith('/dev/')) return null;
  const name = provider.slice('/dev/'.length);
  return name !== '' && Buffer.byteLength(name) <= LABEL_NAME_BYTES_MAX ? name : null;
}
