import { promises as fs } from 'node:fs';
import { resolve } from 'node:path';
import type { ClientTls } from '../../client/options.js';
import { createImage, openFile, type FileDevice } from '../../device/file-device.js';
import type { AccessMode } from '../../protocol/handshake.js';
import { formatGgateUri, isGgateUri, parseGgateUri } from '../../protocol/uri.js';
import { CommandError } from '../errors.js';
import { openWatched } from '../remote.js';
import { formatBytes } from '../units.js';
import type { CopyEnd } from './end.js';
import type { EndIdentity } from './resume.js';

export interface OpenEndOptions {
  readonly tls: ClientTls;
  readonly giveUpMs: number | null;
}

/** Opens what is read from. Throws DeviceError, ProtocolError, CommandError. */
export async function openSource(text: string, options: OpenEndOptions): Promise<CopyEnd> {
  return isGgateUri(text) ? await openRemoteEnd(text, 'ro', options) : await openLocalEnd(text, 'ro', false);
}

/** Opens what is written to; an image file that isn't there is made, sparse and of the source's size. */
export async function openTarget(
  text: string,
  sourceSizeBytes: number,
  options: OpenEndOptions,
): Promise<CopyEnd> {
  if (isGgateUri(text)) return await openRemoteEnd(text, 'rw', options);
  const isFresh = !(await exists(text));
  if (isFresh) await createImage(text, sourceSizeBytes);
  return await openLocalEnd(text, 'rw', isFresh);
}

/** Throws CommandError if the pair can't be copied. Returns what a person should know all the same. */
export function checkPair(source: CopyEnd, target: CopyEnd, names: { from: string; to: string }): string[] {
  const from = source.device;
  const to = target.device;
  if (source.key === target.key) throw new CommandError(`${names.from} and ${names.to} are the same`);
  if (to.mediaSizeBytes < from.mediaSizeBytes) {
    throw new CommandError(
      `${names.to} is too small: it has ${formatBytes(to.mediaSizeBytes)} (${to.mediaSizeBytes} bytes), ` +
        `${names.from} has ${formatBytes(from.mediaSizeBytes)} (${from.mediaSizeBytes} bytes)`,
    );
  }
  if (from.mediaSizeBytes % to.sectorSizeBytes !== 0) {
    throw new CommandError(
      `${names.to} has sectors of ${to.sectorSizeBytes} bytes, and the ${from.mediaSizeBytes} bytes of ` +
        `${names.from} are not a whole number of them`,
    );
  }
  const restBytes = to.mediaSizeBytes - from.mediaSizeBytes;
  if (restBytes === 0) return [];
  return [`note: ${names.to} is larger; its last ${formatBytes(restBytes)} are left as they are`];
}

async function exists(path: string): Promise<boolean> {
  try {
    await fs.stat(path);
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return false;
    throw error;
  }
}

async function openLocalEnd(text: string, access: AccessMode, isFresh: boolean): Promise<CopyEnd> {
  const path = resolve(text);
  const device = await openFile(path, { access, alone: access !== 'ro' });
  if (device.media.note !== null && access === 'ro') {
    await device.close();
    throw new CommandError(`${device.media.note}. Make it a whole number of sectors first, with truncate(1)`);
  }
  return {
    device,
    key: device.media.identity,
    localPath: path,
    isRemote: false,
    isFresh,
    askData: device.kind === 'file' ? (fromBytes) => device.nextAllocated(fromBytes) : null,
    identify: () => identifyFile(path, device),
    lossCount: () => 0,
    reconnectCount: () => 0,
    watch: () => undefined,
  };
}

async function identifyFile(path: string, device: FileDevice): Promise<EndIdentity> {
  const { mediaSizeBytes } = device;
  if (device.kind !== 'file') return { name: path, mediaSizeBytes, file: null };
  const { dev, ino, mtimeMs } = await fs.stat(path);
  return { name: path, mediaSizeBytes, file: { dev, ino, modifiedMs: mtimeMs } };
}

async function openRemoteEnd(text: string, access: AccessMode, options: OpenEndOptions): Promise<CopyEnd> {
  const name = formatGgateUri(parseGgateUri(text));
  const { device, watch } = await openWatched(text, { ...options, access, flushProbe: 'once' });
  const { mediaSizeBytes } = device;
  return {
    device,
    key: name,
    localPath: null,
    isRemote: true,
    isFresh: false,
    askData: null,
    identify: async () => await Promise.resolve({ name, mediaSizeBytes, file: null }),
    lossCount: () => watch.lossCount,
    reconnectCount: () => watch.reconnectCount,
    watch: (onStatus) => (watch.onStatus = onStatus),
  };
}
