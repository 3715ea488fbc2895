import type { BlockDevice } from '../../device/block-device.js';
import { abandonable } from '../../device/wrappers/abandonable.js';
import { KeptWrites, watchFlushes } from '../../device/wrappers/kept-writes.js';
import { Observer } from '../../device/wrappers/observer.js';
import { slice } from '../../device/wrappers/slice.js';
import { areaOffsetBytes, areaSizeBytes } from '../../protocol/area-layout.js';
import { ProtocolError } from '../../protocol/errors.js';
import { unusableReason } from '../../protocol/gmirror-checks.js';
import { decodeLabel, labelOffsetBytes, type DecodedLabel } from '../../protocol/gmirror-label.js';
import type { Superblock } from '../../protocol/superblock.js';
import { AreaStore, type NewSuperblock, type OpenedArea } from '../area/area-store.js';
import { superblockCheck } from '../area/superblock-check.js';
import type { FlushDoubt, OpenedProvider } from '../area/provider.js';
import { type SettledProvider, withFittingArea } from './second-area.js';
import type { ComponentMedia } from '../component.js';
import { labelIdOf } from '../ids.js';
import type { Touch } from '../decide/pair-facts.js';
import { ComponentStore, isLabelTouched, readLabelSector } from '../area/component-store.js';

/** What an opened provider is. */
export type OpenedComponent =
  | {
      readonly state: 'ok';
      readonly media: ComponentMedia;
      readonly store: ComponentStore;
      readonly label: DecodedLabel;
      readonly superblock: Superblock;
      readonly touch: Touch;
      /** See OpenedProvider. */
      readonly removeArea?: () => Promise<void>;
    }
  | BareComponent
  /** It is no component of ours, or can't be believed to be one. `why` is a clause whose subject is the provider. */
  | { readonly state: 'none' | 'damaged'; readonly why: string };

/** A sound label without an area that can be believed: of the kernel's gmirror, or an area was lost. */
export interface BareComponent {
  readonly state: 'bare';
  readonly why: string;
  readonly label: DecodedLabel;
  /** The whole provider, open until close(). */
  readonly device: BlockDevice;
  /** An area file was named that is not there. */
  readonly isAreaNew: boolean;
  /** Makes an area over whatever is in its place; null if there is no room. Rejects with DeviceError. */
  readonly makeArea: ((superblock: NewSuperblock) => Promise<void>) | null;
  close(): Promise<void>;
}

/**
 * Reads label and private area. The provider belongs to the component's media from then on, or to a bare component;
 * otherwise it is closed again. Rejects with DeviceError if it can't be read.
 */
export async function openComponent(opened: OpenedProvider): Promise<OpenedComponent> {
  const fitting = await withFittingArea(opened);
  const handle = new ProviderHandle(fitting);
  let component: OpenedComponent | null = null;
  try {
    component = await readComponent(handle, fitting);
  } finally {
    if (component?.state !== 'ok' && component?.state !== 'bare') await handle.close();
  }
  return component;
}

/** A flush failed when the private area was repaired, for what was written before by whoever: nobody else keeps a note of it. */
class ToldDoubt implements FlushDoubt {
  isInDoubt = false;

  settle(): void {
    this.isInDoubt = false;
  }
}

/** Device and area file of a component, which are given up and closed together. */
class ProviderHandle {
  /** Nobody has seen to that yet when it is given up or closed: a start may be refused for another reason. */
  readonly told = new ToldDoubt();
  readonly device: BlockDevice;
  readonly area: BlockDevice | null;
  readonly #abandons: (() => void)[] = [];
  #closing: Promise<void> | null = null;
  #isClosed = false;

  constructor(private readonly opened: OpenedProvider) {
    const provider = abandonableOf(opened.device, opened.abandon);
    const area = opened.area === null ? null : abandonable(opened.area);
    this.device = provider.device;
    this.area = area?.device ?? null;
    this.#abandons.push(provider.abandon);
    if (area !== null) this.#abandons.push(() => area.abandon());
  }

  readonly abandon = (): void => {
    if (this.told.isInDoubt) this.opened.tellAgain?.();
    for (const abandon of this.#abandons) abandon();
  };

  get isClosed(): boolean {
    return this.#isClosed;
  }

  close(): Promise<void> {
    if (this.told.isInDoubt) this.opened.tellAgain?.();
    this.#closing ??= Promise.allSettled([this.device.close(), this.area?.close()]).then(() => {
      this.#isClosed = true;
    });
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

async function readComponent(handle: ProviderHandle, opened: SettledProvider): Promise<OpenedComponent> {
  const { device } = handle;
  // Before anything is written.
  const modifiedNs = (await opened.image?.modifiedNs()) ?? null;
  const label = labelOf(await readLabelSector(device));
  if ('why' in label) return label;
  const misfit = misfitOf(label, device);
  if (misfit !== null) return { state: 'damaged', why: misfit };
  const { newArea, image } = opened;
  if (newArea !== undefined) {
    if (await hasOwnArea(device, label)) {
      return { state: 'none', why: 'has its private area on itself, and needs no area file' };
    }
    const why = `has no private area: ${newArea.name} is not there`;
    return { ...bareOf(handle, label, why), isAreaNew: true, makeArea: (made) => newArea.make(made) };
  }
  const areaAt = handle.area === null ? areaOffsetBytes(label.mediaSizeBytes) : 0;
  const observer = new Observer();
  const { told } = handle;
  let isOpening = true;
  const failed = (): void => {
    // Of later ones the mirror knows by itself.
    told.isInDoubt ||= isOpening;
  };
  const provider = KeptWrites.of(watchFlushes(observer.lookAt(device), failed));
  const readArea = (): Promise<OpenedArea> =>
    AreaStore.open(handle.area === null ? provider : observer.lookAt(handle.area), areaAt);
  // A server tells of it once, so who gave the provider up now would take it for sound the next time.
  const area = await readArea().catch((error: unknown) => {
    if (!told.isInDoubt) throw error;
    return readArea();
  });
  isOpening = false;
  const flushNote = opened.flushNote ?? (told.isInDoubt ? told : undefined);
  if (area.state === 'none') {
    return bareOf(handle, label, 'has a gmirror label, but no private area of ggmirror');
  }
  if (area.state === 'damaged') {
    return bareOf(handle, label, `has a private area that can't be believed: ${area.why}`);
  }
  // The kernel copies to a component without telling our superblock; and what it writes meanwhile may be missing there.
  const isMixture = area.store.superblock.isInconsistent || label.diskFlags.synchronizing;
  const superblock: Superblock = { ...area.store.superblock, isInconsistent: isMixture };
  const foreign = foreignReason(label, superblock, handle.area !== null);
  if (foreign !== null) return { state: 'none', why: foreign };
  opened.guardReturn?.(superblockCheck(area.store, areaAt));
  const store = new ComponentStore(area.store, provider, label, {
    isAreaElsewhere: handle.area !== null,
    ...(opened.settleArea === undefined ? {} : { settleArea: opened.settleArea }),
  });
  const touch = touchOf(label, superblock, modifiedNs);
  // What open() has repaired was our own doing.
  if ((area.isRepaired || told.isInDoubt) && touch === null && superblock.modifiedNs !== 0n) {
    await image?.setModifiedNs(superblock.modifiedNs);
  }
  const media: ComponentMedia = {
    data: slice(
      watchFlushes(device, provider.flushFailed),
      { offsetBytes: 0, lengthBytes: label.mediaSizeBytes },
      { closesParent: false },
    ),
    store,
    oldestOfStore: () => observer.oldest,
    abandon: handle.abandon,
    ...(opened.lost === undefined ? {} : { lost: opened.lost }),
    ...(flushNote === undefined ? {} : { flushNote }),
    ...(image === undefined ? {} : { seal: () => store.seal(image) }),
    close: () => handle.close(),
    get isClosed() {
      return handle.isClosed;
    },
  };
  const { removeArea } = opened;
  const rest = removeArea === undefined ? {} : { removeArea };
  return { state: 'ok', media, store, label, superblock, touch, ...rest };
}

function foreignReason(label: DecodedLabel, superblock: Superblock, hasAreaFile: boolean): string | null {
  const isOfMirror =
    label.mid === labelIdOf(superblock.mirrorUuid) && label.mediaSizeBytes === superblock.mediaSizeBytes;
  if (!isOfMirror && !hasAreaFile) return 'was labelled anew since ggmirror used it';
  if (isOfMirror && label.did === labelIdOf(superblock.componentUuid)) return null;
  return hasAreaFile
    ? 'has an area file of another component'
    : 'has the private area of another component of its mirror';
}

async function hasOwnArea(device: BlockDevice, label: DecodedLabel): Promise<boolean> {
  const area = await AreaStore.open(device, areaOffsetBytes(label.mediaSizeBytes));
  return area.state === 'ok' && foreignReason(label, area.store.superblock, false) === null;
}

function bareOf(handle: ProviderHandle, label: DecodedLabel, why: string): BareComponent {
  const { device, area } = handle;
  const at = area === null ? areaOffsetBytes(label.mediaSizeBytes) : 0;
  const endBytes = at + areaSizeBytes(label.mediaSizeBytes);
  const hasRoom = endBytes <= (area === null ? labelOffsetBytes(device) : area.mediaSizeBytes);
  const makeArea = async (superblock: NewSuperblock): Promise<void> => {
    await AreaStore.create(area ?? device, at, superblock);
  };
  const close = (): Promise<void> => handle.close();
  return { state: 'bare', why, label, device, isAreaNew: false, makeArea: hasRoom ? makeArea : null, close };
}

function labelOf(
  sector: Buffer,
): DecodedLabel | { readonly state: 'none' | 'damaged'; readonly why: string } {
  try {
    return decodeLabel(sector);
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    if (error.code === 'PROTOCOL_MAGIC') {
      return { state: 'none', why: 'has no gmirror label in its last sector' };
    }
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

/** An image that is older than it should be was put back from a copy. */
function touchOf(label: DecodedLabel, superblock: Superblock, modifiedNs: bigint | null): Touch {
  if (isLabelTouched(label, superblock)) return 'label';
  const isKnown = modifiedNs !== null && superblock.modifiedNs !== 0n;
  return isKnown && modifiedNs !== superblock.modifiedNs ? 'image' : null;
}
