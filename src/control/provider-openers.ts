import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import type { ClientTls } from '../client/options.js';
import { openRemote, type RemoteDevice } from '../client/remote-device.js';
import { DeviceError } from '../device/block-device.js';
import type { Clock } from '../device/clock.js';
import { openDiskThread } from '../device/disk-thread/disk-thread.js';
import { requireUnused } from '../device/in-use.js';
import { createAreaFile, openAreaDevice } from '../mirror/area-file.js';
import type { NewSuperblock } from '../mirror/area-store.js';
import type { OpenedProvider, ProviderOpener } from '../mirror/assemble.js';
import { parseComponent } from './component-spec.js';
import { type GgateUri, isGgateUri, parseGgateUri } from '../protocol/uri.js';

export interface OpenerOptions {
  /** How long a provider may be silent, and how long opening it may take. */
  readonly timeoutMs: number;
  /** 0 to 255; left out: what its label says. */
  readonly priority?: number;
  readonly tls: ClientTls;
  readonly clock: Clock;
}

/** For a component as parseComponent() reads it. Throws PROTOCOL_FORMAT for a URI that is none. */
export function providerOpener(text: string, options: OpenerOptions): ProviderOpener {
  const { timeoutMs, priority } = options;
  const { provider, area } = parseComponent(text);
  const common = { name: provider, timeoutMs, ...(priority === undefined ? {} : { priority }) };
  if (!isGgateUri(provider)) {
    const path = resolve(provider);
    const areaPath = area === null ? null : resolve(area);
    return { ...common, isLocal: true, open: () => openLocal(path, areaPath) };
  }
  const uri = parseGgateUri(provider);
  return { ...common, isLocal: false, open: () => openExport(provider, uri, options) };
}

async function openLocal(path: string, areaPath: string | null): Promise<OpenedProvider> {
  await requireUnused(path);
  const device = await openDiskThread(path, { access: 'rw', alone: true });
  const opened: OpenedProvider = {
    device,
    area: null,
    abandon: () => device.abandon(),
    ...(device.media.kind === 'file' ? { image: device } : {}),
  };
  if (areaPath === null) return opened;
  try {
    if (existsSync(areaPath)) return { ...opened, area: await openAreaDevice(areaPath) };
    return {
      ...opened,
      newArea: { name: areaPath, make: (superblock) => makeAreaFile(areaPath, superblock) },
    };
  } catch (error) {
    await device.close();
    throw error;
  }
}

async function makeAreaFile(path: string, superblock: NewSuperblock): Promise<void> {
  await (await createAreaFile(path, superblock)).close();
}

/** A lost connection fails what waits for it: the mirror goes on without it, and opens it again itself. */
async function openExport(name: string, uri: GgateUri, options: OpenerOptions): Promise<OpenedProvider> {
  const { timeoutMs, tls, clock } = options;
  const opening = openRemote({
    uri,
    access: 'rw',
    tls,
    clock,
    requestTimeoutMs: timeoutMs,
    connectTimeoutMs: timeoutMs,
    onConnectionLost: 'fail',
    flushProbe: 'once',
  });
  const device = await inTime(opening, name, options);
  return { device, area: null, abandon: () => device.abandon() };
}

/** Looking up a name has no bound of its own, nor does what is asked after the handshake. */
function inTime(opening: Promise<RemoteDevice>, name: string, options: OpenerOptions): Promise<RemoteDevice> {
  const { timeoutMs, clock } = options;
  return new Promise((resolveOpened, reject) => {
    let isLate = false;
    // The handshake's own time-out has the better message.
    const timer = clock.after(timeoutMs + 500, () => {
      isLate = true;
      const message = `${name} can't be opened within ${timeoutMs / 1000} s; check the server and the network`;
      reject(new DeviceError('DEVICE_TIMEOUT', 'ETIMEDOUT', message));
    });
    opening.then(
      (device) => {
        timer.cancel();
        if (isLate) device.abandon();
        else resolveOpened(device);
      },
      (error: unknown) => {
        timer.cancel();
        reject(error instanceof Error ? error : new Error(String(error)));
      },
    );
  });
}
