import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { openDiskThread } from '../device/disk-thread/disk-thread.js';
import { requireUnused } from '../device/in-use.js';
import { createAreaFile, openAreaDevice } from '../mirror/area-file.js';
import type { NewSuperblock } from '../mirror/area-store.js';
import type { OpenedProvider, ProviderOpener } from '../mirror/assemble.js';
import { parseComponent } from './component-spec.js';
import { type ExportOptions, openExport } from './export-opener.js';
import { isGgateUri, parseGgateUri } from '../protocol/uri.js';

export interface OpenerOptions extends ExportOptions {
  /** 0 to 255; left out: what its label says. */
  readonly priority?: number;
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
