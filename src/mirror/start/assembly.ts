import { DeviceError } from '../../device/block-device.js';
import type { DecodedLabel } from '../../protocol/gmirror-label.js';
import { AssembleError, type ProviderOpener } from './assembled.js';
import type { Component, ComponentMedia } from '../component.js';
import type { ComponentStore } from '../area/component-store.js';
import type { PresentComponent } from '../decide/assembly-decision.js';
import type { Arrival } from '../mirror.js';
import { followProvider } from './move-label.js';
import { takeSize } from './take-size.js';
import { type BareComponent, openComponent, type OpenedComponent } from './open-component.js';

/** A provider that is a component. */
export interface PresentProvider {
  readonly state: 'ok';
  readonly name: string;
  readonly facts: PresentComponent;
  readonly label: DecodedLabel;
  readonly media: ComponentMedia;
  readonly store: ComponentStore;
}

/** A provider with a label that is missing its private area. */
export type BareProvider = BareComponent & { readonly name: string };

export type FoundProvider =
  | PresentProvider
  | BareProvider
  /** `why` is a clause whose subject is the provider; of one that failed to open, a sentence. */
  | { readonly state: 'none' | 'damaged'; readonly name: string; readonly why: string }
  /** `isUsed`: somebody else has it open. */
  | { readonly state: 'failed'; readonly name: string; readonly why: string; readonly isUsed: boolean };

/** What an opener is to the mirror. */
export interface ClaimedProvider {
  readonly name: string;
  readonly isLocal: boolean;
  readonly priority: number;
  /** See ComponentIdentity. */
  readonly isPriorityGuessed?: boolean;
  readonly timeoutMs?: number;
}

/** The providers of one mirror, and which of them is which component. */
export class Assembly {
  /** By slot. A component that was not there at the start has one that is guessed, until it comes. */
  readonly #openers = new Map<number, ProviderOpener>();
  /** By slot: as it was opened last. */
  readonly #media = new Map<number, ComponentMedia>();
  /** By slot: the provider's size as the label had it last. */
  readonly #sizes = new Map<number, number>();
  readonly #free: { readonly opener: ProviderOpener; readonly index: number }[] = [];

  private constructor(
    openers: readonly ProviderOpener[],
    readonly providers: readonly FoundProvider[],
  ) {
    for (const [index, opener] of openers.entries()) {
      const found = providers[index];
      if (found?.state === 'ok') {
        const { slot } = found.facts.superblock;
        this.#openers.set(slot, opener);
        this.#media.set(slot, found.media);
        this.#sizes.set(slot, found.label.providerSizeBytes);
      } else this.#free.push({ opener, index });
    }
  }

  /** Opens all at once, and reads what they are. Never rejects for what a provider is. */
  static async open(openers: readonly ProviderOpener[]): Promise<Assembly> {
    const ends = await Promise.allSettled(openers.map(find));
    const bug = ends.find((end) => end.status === 'rejected');
    const providers = ends.flatMap((end) => (end.status === 'fulfilled' ? [end.value] : []));
    if (bug !== undefined) {
      await closeAll(providers);
      throw bug.reason;
    }
    return new Assembly(openers, providers);
  }

  /** Who is in a slot. For one that is missing, the provider of that place if it did not come, or another such. */
  claim(slot: number): ClaimedProvider {
    let opener = this.#openers.get(slot);
    if (opener === undefined) {
      const at = Math.max(
        0,
        this.#free.findIndex(({ index }) => index === slot),
      );
      opener = this.#free.splice(at, 1)[0]?.opener;
      if (opener !== undefined) this.#openers.set(slot, opener);
    }
    if (opener === undefined) return { name: `component ${slot}`, isLocal: false, priority: 0 };
    const found = this.providers.find((provider) => provider.name === opener.name);
    const stored = found?.state === 'ok' ? found.facts.priority : undefined;
    const { name, isLocal, priority = stored, timeoutMs } = opener;
    return {
      ...{ name, isLocal, priority: priority ?? 0 },
      ...(priority === undefined ? { isPriorityGuessed: true } : {}),
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
    };
  }

  /** Of all components, in the order of their slots; those that were never named are missing. */
  get openers(): readonly ProviderOpener[] {
    return [...this.#openers]
      .sort(([one], [other]) => one - other)
      .map(([slot, opener]) => following(opener, this.#sizes.get(slot)));
  }

  /** A component has come to a free slot, as it was opened for that. */
  take(slot: number, opener: ProviderOpener, media: ComponentMedia): void {
    this.#openers.set(slot, opener);
    this.#media.set(slot, media);
  }

  /** A slot is free again. */
  release(slot: number): void {
    this.#openers.delete(slot);
    this.#media.delete(slot);
    this.#sizes.delete(slot);
  }

  /** `found` hears what its label says, if it is that component. */
  async reopen(component: Component, found: (label: DecodedLabel) => void): Promise<Arrival> {
    const { media, superblock, label, touch } = await this.#open(component);
    if (superblock.componentUuid === component.identity.uuid) found(label);
    return { media, superblock, touch };
  }

  /**
   * What one is like that somebody else uses now, to be read only; whoever asked closes its media. Null where that can't be,
   * or if it is no component. Rejects with DeviceError.
   */
  async look(component: Component): Promise<Arrival | null> {
    const opener = this.#openers.get(component.identity.slot);
    if (opener?.look === undefined) return null;
    const opened = await openComponent(await opener.look());
    if (opened.state === 'bare') await opened.close();
    if (opened.state !== 'ok') return null;
    // Its user writes label and superblock one after the other: between the two that looks like somebody else's touch.
    return { media: opened.media, superblock: opened.superblock, touch: null };
  }

  /** Wipes label and private area of one that is not connected, and removes its area file. Rejects as reopen(), and if it is another one now. */
  async erase(component: Component): Promise<void> {
    // It may have been lost just now.
    await this.#media.get(component.identity.slot)?.close();
    const { media, store, superblock, removeArea } = await this.#open(component);
    try {
      if (superblock.componentUuid !== component.identity.uuid) {
        throw new AssembleError('ASSEMBLE_FOREIGN', `${component.name} holds another component now`);
      }
      await store.erase();
    } finally {
      await media.close();
    }
    await removeArea?.();
  }

  async #open(component: Component): Promise<Extract<OpenedComponent, { state: 'ok' }>> {
    const { slot } = component.identity;
    const opener = this.#openers.get(slot);
    if (opener === undefined) {
      const message = `${component.name} was not named when the mirror was started; start it anew with all its components`;
      throw new DeviceError('DEVICE_OPEN', 'ENXIO', message);
    }
    // A write that hangs in the disk since then may land at any time, and the lock of its image is ours still.
    if (this.#media.get(slot)?.isClosed === false) {
      const message = `${component.name} still has a request under way from before it was lost; it is tried again when that is over`;
      throw new DeviceError('DEVICE_OPEN', 'EBUSY', message);
    }
    let opened = await openFollowing(following(opener, this.#sizes.get(slot)));
    if (opened.state === 'ok' && hasOtherSize(opened, component)) {
      await opened.media.close();
      await takeSize(opener, component.mediaSizeBytes);
      opened = await openComponent(await opener.open());
    }
    if (opened.state === 'bare') await opened.close();
    if (opened.state !== 'ok') throw new AssembleError('ASSEMBLE_FOREIGN', `${opener.name} ${opened.why}`);
    this.#media.set(slot, opened.media);
    this.#sizes.set(slot, opened.label.providerSizeBytes);
    return opened;
  }

  /** Lets go of those that the mirror runs without: whoever inserts them anew opens them again. Never rejects. */
  closeBare(): Promise<void> {
    return closeAll(this.providers.filter(({ state }) => state === 'bare'));
  }

  /** For a start that failed. */
  close(): Promise<void> {
    return closeAll(this.providers);
  }
}

async function closeAll(providers: readonly FoundProvider[]): Promise<void> {
  await Promise.allSettled(
    providers.map((found) => {
      if (found.state === 'ok') return found.media.close();
      return found.state === 'bare' ? found.close() : Promise.resolve();
    }),
  );
}

const following = (opener: ProviderOpener, lastSizeBytes: number | undefined): ProviderOpener =>
  lastSizeBytes === undefined ? opener : { ...opener, lastSizeBytes };

/** If its provider grew while it was away its label comes to the new end. */
async function openFollowing(opener: ProviderOpener): Promise<OpenedComponent> {
  const opened = await openComponent(await opener.open());
  const { lastSizeBytes } = opener;
  const hasMoved =
    opened.state === 'none' && lastSizeBytes !== undefined && (await followProvider(opener, lastSizeBytes));
  return hasMoved ? await openComponent(await opener.open()) : opened;
}

/** A resize was interrupted before its label named the new size. */
const hasOtherSize = (
  { superblock }: Extract<OpenedComponent, { state: 'ok' }>,
  { identity, mediaSizeBytes }: Component,
): boolean => superblock.componentUuid === identity.uuid && superblock.mediaSizeBytes !== mediaSizeBytes;

async function find(opener: ProviderOpener): Promise<FoundProvider> {
  const { name, isLocal } = opener;
  try {
    const opened = await openFollowing(opener);
    if (opened.state === 'bare') return { ...opened, name };
    if (opened.state !== 'ok') return { state: opened.state, name, why: opened.why };
    const { media, store, label, superblock, touch } = opened;
    const priority = opener.priority ?? label.priority;
    const { genid, syncid, diskFlags, mirrorFlags } = label;
    const facts: PresentComponent = {
      ...{ name, isLocal, priority, superblock, genid, syncid, touch },
      isInactive: diskFlags.inactive,
      noFailSync: mirrorFlags.noFailSync,
      isFlushDoubtful: media.flushNote?.isInDoubt === true,
    };
    return { state: 'ok', name, facts, label, media, store };
  } catch (error) {
    if (!(error instanceof DeviceError)) throw error;
    return { state: 'failed', name, why: error.message, isUsed: error.errno === 'EBUSY' };
  }
}
