import { existsSync } from 'node:fs';
import { DeviceError, type BlockDevice } from '../device/block-device.js';
import { InUse, requireUnused } from '../device/in-use.js';
import { ProtocolError } from '../protocol/errors.js';
import type { ByteRange } from '../protocol/geometry.js';
import { hasLabelMagic, labelOffsetBytes } from '../protocol/gmirror-label.js';
import type { AccessMode } from '../protocol/handshake.js';
import { isGgateUri } from '../protocol/uri.js';
import type { ClientTls } from '../client/options.js';
import { isExpected } from './errors.js';
import { openDevice, type OpenedDevice } from './open-device.js';
import { flush, request } from '../device/request.js';
import { strerror } from './strerror.js';

/** The last sector of an image, a disk or an export. Throws what opening and reading throw. */
export function readLabelSector(provider: string, tls: ClientTls): Promise<Buffer> {
  return withProvider(provider, 'ro', tls, ({ device }) => readLast(device));
}

/**
 * Zeroes the last sector if there is gmirror's magic in it, and makes that durable where the device can flush. Throws
 * PROTOCOL_MAGIC without it, DeviceError with EBUSY for what is mounted or served, and what opening and writing throw.
 */
export async function clearLabelSector(provider: string, tls: ClientTls): Promise<void> {
  // A writer could take the place of another one at the server, so an export without a label is only read.
  requireMagic(await readLabelSector(provider, tls));
  await withProvider(provider, 'rw', tls, async ({ device, localPath }) => {
    if (localPath !== null) await requireUnused(localPath, device.name);
    requireMagic(await readLast(device));
    await request(device, 'write', lastSector(device), Buffer.alloc(device.sectorSizeBytes));
    if (device.can.flush) await flush(device);
  });
}

/** What gmirror would say about an error, as the end of a sentence; throws the error again if it is a bug of ours. */
export function reasonOf(error: unknown): string {
  if (error instanceof DeviceError) {
    const cause = error.cause instanceof InUse ? ` (${error.cause.message})` : '';
    return `${strerror(error.errno)}${cause}`;
  }
  // gmirror says 'Invalid argument' alone, which few take for what it means.
  if (error instanceof ProtocolError && error.code === 'PROTOCOL_MAGIC') {
    return `${strerror('EINVAL')} (there is no gmirror label)`;
  }
  if (!isExpected(error)) throw error;
  return error.message;
}

/** Opens an image, a disk or an export for as long as `act` takes. Throws what opening and `act` throw. */
export async function withProvider<Result>(
  provider: string,
  access: AccessMode,
  tls: ClientTls,
  act: (opened: OpenedDevice) => Promise<Result>,
): Promise<Result> {
  const opened = await openDevice(pathOf(provider), { access, tls, giveUpMs: 0, flushProbe: 'never' });
  try {
    return await act(opened);
  } finally {
    await opened.device.close();
  }
}

/** gmirror's users leave out `/dev/`; so may ours, where nothing else is meant. */
export function pathOf(provider: string): string {
  if (isGgateUri(provider) || provider.includes('/') || existsSync(provider)) return provider;
  return existsSync(`/dev/${provider}`) ? `/dev/${provider}` : provider;
}

const lastSector = (device: BlockDevice): ByteRange => ({
  offsetBytes: labelOffsetBytes(device),
  lengthBytes: device.sectorSizeBytes,
});

async function readLast(device: BlockDevice): Promise<Buffer> {
  const sector = Buffer.alloc(device.sectorSizeBytes);
  await request(device, 'read', lastSector(device), sector);
  return sector;
}

function requireMagic(sector: Buffer): void {
  if (!hasLabelMagic(sector)) throw new ProtocolError('PROTOCOL_MAGIC', 'there is no gmirror label');
}
