import type { DeviceError } from '../../device/block-device.js';
import type { RandomSource } from '../../device/random.js';
import type { Uuid } from '../../protocol/superblock.js';
import type { Component } from '../component.js';
import type { ComponentSet } from '../component-set.js';
import type { MirrorSettings } from '../area/meta-store.js';

export interface JournalOptions {
  readonly components: ComponentSet;
  /** What labels are to say besides; null to leave them as they are. */
  readonly settings: () => MirrorSettings | null;
  readonly random: RandomSource;
  /** A component failed to keep what it was told; drop it. Never the last ACTIVE one. */
  readonly failed: (component: Component, error: DeviceError) => void;
  /** Flushes the data of every component that can, and waits for it. */
  readonly flushAll: () => Promise<void>;
}

/** Those of `leave` take no writes. */
export interface MemberChange {
  /** A component in a free slot that is not there yet. */
  readonly joins?: { readonly component: Component; readonly lostAt: Uuid };
  readonly leave: readonly Component[];
}
