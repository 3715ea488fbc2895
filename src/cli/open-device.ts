import { resolve } from 'node:path';
import type { SessionInfo } from '../client/options.js';
import type { BlockDevice } from '../device/block-device.js';
import { openFile } from '../device/file-device.js';
import { isGgateUri } from '../protocol/uri.js';
import { openWatched, type OpenRemoteOptions } from './remote.js';

/** What a command was given to work on: a remote export, an image file or a disk. */
export interface OpenedDevice {
  readonly device: BlockDevice;
  /** Absolute; null for a remote export. */
  readonly localPath: string | null;
  /** What is in force with the server; null for what is local. */
  readonly session: SessionInfo | null;
  reconnectCount(): number;
  /** Hears why the device stands still, and null when it goes on. Absent for what is local. */
  watch?(onStatus: (text: string | null) => void): void;
}

/** Throws DeviceError, and ProtocolError for a bad URI. */
export async function openDevice(text: string, options: OpenRemoteOptions): Promise<OpenedDevice> {
  if (!isGgateUri(text)) {
    const localPath = resolve(text);
    const device = await openFile(localPath, { access: options.access, alone: options.access !== 'ro' });
    return { device, localPath, session: null, reconnectCount: () => 0 };
  }
  const { device, watch } = await openWatched(text, options);
  return {
    device,
    localPath: null,
    session: device.session,
    reconnectCount: () => watch.reconnectCount,
    watch: (onStatus) => (watch.onStatus = onStatus),
  };
}
