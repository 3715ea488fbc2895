import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { openDiskThread } from '../device/disk-thread/disk-thread.js';
import { requireUnused } from '../device/in-use.js';
import { systemRandom } from '../device/random.js';
import { createAreaFile, openAreaDevice, removeErasedArea, secondAreaOf } from '../mirror/area/area-file.js';
import type { NewSuperblock } from '../mirror/area/area-store.js';
import type { OpenedProvider, ProviderOpener } from '../mirror/start/assemble.js';
import type { ComponentSpec } from './component-spec.js';
import { type ExportOptions, openExport } from './export-opener.js';
import { OwnClients } from './own-client.js';
import { isGgateUri, parseGgateUri } from '../protocol/uri.js';

/** `flushNotes`: see OpenFileOptions. The time-out of `options` is for those without one of their own. Throws PROTOCOL_FORMAT for a URI that is none. */
export function providerOpener(
  { provider, area, priority, timeoutMs: ownTimeoutMs }: ComponentSpec,
  options: ExportOptions & { readonly flushNotes?: string },
): ProviderOpener {
  const timeoutMs = ownTimeoutMs ?? options.timeoutMs;
  const common = { name: provider, timeoutMs, ...(priority === null ? {} : { priority }) };
  if (!isGgateUri(provider)) {
    const path = resolve(provider);
    const areaPath = area === null ? null : resolve(area);
    return { ...common, isLocal: true, open: () => openLocal(path, areaPath, options) };
  }
  const uri = parseGgateUri(provider);
  const random = options.random ?? systemRandom;
  const [writing, looking] = [new OwnClients(random), new OwnClients(random)];
  const opening = { ...options, timeoutMs };
  return {
    ...common,
    isLocal: false,
    open: () => openExport(provider, uri, { ...opening, access: 'rw', clients: writing }),
    look: () => openExport(provider, uri, { ...opening, access: 'ro', clients: looking }),
  };
}

async function openLocal(
  path: string,
  areaPath: string | null,
  { flushNotes }: { readonly flushNotes?: string },
): Promise<OpenedProvider> {
  await requireUnused(path);
  const notes = flushNotes === undefined ? {} : { flushNotes };
  const device = await openDiskThread(path, { access: 'rw', alone: true, ...notes });
  const opened: OpenedProvider = {
    device,
    area: null,
    abandon: () => device.abandon(),
    ...(device.flushNote === null ? {} : { flushNote: device.flushNote }),
    ...(device.media.kind === 'file'
      ? { image: device, nextAllocated: (offsetBytes: number) => device.nextAllocated(offsetBytes) }
      : {}),
  };
  if (areaPath === null) return opened;
  try {
    if (existsSync(areaPath)) {
      const area = await openAreaDevice(areaPath);
      const beside = area.kind === 'file' ? { secondArea: secondAreaOf(areaPath) } : {};
      return { ...opened, ...beside, area, removeArea: () => removeErasedArea(areaPath) };
    }
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
