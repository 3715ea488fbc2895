import type { BlockDevice } from '../device/block-device.js';
import { abandonable } from '../device/wrappers/abandonable.js';
import { slice } from '../device/wrappers/slice.js';
import { areaOffsetBytes } from '../protocol/area-layout.js';
import { ProtocolError } from '../protocol/errors.js';
import { unusableReason } from '../protocol/gmirror-checks.js';
import { decodeLabel, type DecodedLabel } from '../protocol/gmirror-label.js';
import type { Superblock, Uuid } from '../protocol/superblock.js';
import { AreaStore } from './area-store.js';
import type { OpenedProvider } from './assembled.js';
import type { ComponentMedia } from './component.js';
import { ComponentStore, isLabelTouched, readLabelSector } from './component-store.js';

/** Who changed a component since we did. 'label': its label was written, as the kernel's gmirror does; 'image': its file was. */
export type Touch = 'label' | 'image' | null;

/** What an opened provider is. */
export type OpenedComponent =
  | {
      readonly state: 'ok';
      readonly media: ComponentMedia;
      readonly store: ComponentStore;
      readonly label: DecodedLabel;
      readonly superblock: Superblock;
      readonly touch: Touch;
    }
  /** It is no component of ours, or can't be believed to be one. `why` is a clause whose subject is the provider. */
  | { readonly state: 'none' | 'damaged'; readonly why: string };

/** The ids in a label that stand for a UUID: its first four bytes (docs/on-disk-format.md). */
export const labelIdOf = (uuid: Uuid): number => Number.parseInt(uuid.slice(0, 8), 16);

/**
 * Reads label and private area. The provider belongs to the component's media from then on; without one it is closed
 * again. Rejects with DeviceError if it can't be read.
 */
export async function openComponent(opened: OpenedProvider): Promise<OpenedComponent> {
  const handle = new ProviderHandle(opened);
  let component: OpenedComponent | null = null;
  try {
    component = await readComponent(handle, opened);
  } finally {
    if (component?.state !== 'ok') await handle.close();
  }
  return component;
}

/** Device and area file of a component, which are given up and closed together. */
class ProviderHandle {
  readonly device: BlockDevice;
  readonly area: BlockDevice | null;
  readonly #abandons: (() => void)[] = [];
  #closing: Promise<void> | null = null;

  constructor(opened: OpenedProvider) {
    const provider = abandonableOf(opened.device, opened.abandon);
    const area = opened.area === null ? null : abandonable(opened.area);
    this.device = provider.device;
    this.area = area?.device ?? null;
    this.#abandons.push(provider.abandon);
    if (area !== null) this.#abandons.push(() => area.abandon());
  }

  readonly abandon = (): void => {
    for (const abandon of this.#abandons) abandon();
  };

  close(): Promise<void> {
    this.#closing ??= Promise.allSettled([this.device.close(), this.area?.close()]).then(() => undefined);
    return this.#closing;
  }
}

function abandonableOf(
  device: BlockDevice,
  abandon: (() => void) | undefined,
): { device: BlockDevice; abandon: () => void } {
  if (abandon !== undefined) return { device, abandon };
  const wrapped = abandonable(device);
  return { device: wrapped.device, abandon: () => wrapped.abandon() };
}

async function readComponent(handle: ProviderHandle, opened: OpenedProvider): Promise<OpenedComponent> {
  const { device } = handle;
  const label = labelOf(await readLabelSector(device));
  if ('why' in label) return label;
  const misfit = misfitOf(label, device);
  if (misfit !== null) return { state: 'damaged', why: misfit };
  const areaAt = handle.area === null ? areaOffsetBytes(label.mediaSizeBytes) : 0;
  const area = await AreaStore.open(handle.area ?? device, areaAt);
  if (area.state === 'none')
    return { state: 'none', why: 'has a gmirror label, but no private area of ggmirror' };
  if (area.state === 'damaged')
    return { state: 'damaged', why: `has a private area that can't be believed: ${area.why}` };
  const { superblock } = area.store;
  const isOurs =
    label.mid === labelIdOf(superblock.mirrorUuid) && label.mediaSizeBytes === superblock.mediaSizeBytes;
  if (!isOurs) return { state: 'none', why: 'was labelled anew since ggmirror used it' };
  const store = new ComponentStore(area.store, device, label, handle.area !== null);
  const media: ComponentMedia = {
    data: slice(device, { offsetBytes: 0, lengthBytes: label.mediaSizeBytes }, { closesParent: false }),
    store,
    abandon: handle.abandon,
    close: () => handle.close(),
  };
  return { state: 'ok', media, store, label, superblock, touch: touchOf(label, superblock, opened) };
}

function labelOf(
  sector: Buffer,
): DecodedLabel | { readonly state: 'none' | 'damaged'; readonly why: string } {
  try {
    return decodeLabel(sector);
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    if (error.code === 'PROTOCOL_MAGIC') return { state: 'none', why: 'has no gmirror label' };
    return { state: 'damaged', why: `has a label that can't be believed: ${error.message}` };
  }
}

function misfitOf(label: DecodedLabel, device: BlockDevice): string | null {
  if (label.mirrorFlags.otherBits.length + label.diskFlags.otherBits.length > 0) {
    return 'has flags in its label that nobody knows';
  }
  const { mediaSizeBytes, sectorSizeBytes } = device;
  return unusableReason(label, { kernelName: null, mediaSizeBytes, sectorSizeBytes });
}

function touchOf(label: DecodedLabel, superblock: Superblock, opened: OpenedProvider): Touch {
  if (isLabelTouched(label, superblock)) return 'label';
  const { modifiedNs } = opened;
  const isNewer =
    modifiedNs !== undefined && superblock.modifiedNs !== 0n && modifiedNs > superblock.modifiedNs;
  return isNewer ? 'image' : null;
}
