import type { CopyEnd } from '../../src/cli/copy/end.js';
import type { BlockDevice } from '../../src/device/block-device.js';

/** A device as one end of a copy, by default a remote one of which nothing more is known. */
export function copyEnd(device: BlockDevice, options: Partial<CopyEnd> = {}): CopyEnd {
  const { name, mediaSizeBytes } = device;
  return {
    device,
    key: name,
    localPath: null,
    isRemote: true,
    isFresh: false,
    askData: null,
    identify: () => Promise.resolve({ name, mediaSizeBytes, file: null }),
    lossCount: () => 0,
    reconnectCount: () => 0,
    watch: () => undefined,
    ...options,
  };
}
