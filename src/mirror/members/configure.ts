import { balanceNumber } from '../../protocol/gmirror-flags.js';
import { defaultBalance, type BalanceAlgorithm } from '../balance.js';
import type { Component } from '../component.js';
import { conductNow } from '../conduct.js';
import { kernelNameOf } from './hardcoded-name.js';
import { MembershipError } from './membership-error.js';
import type { MirrorSettings } from '../area/meta-store.js';
import type { Mirror } from '../mirror.js';
import type { Conduct } from '../mirror-options.js';

/** What a person changes; what is left out stays as it is. */
export interface SettingsChange {
  readonly balance?: BalanceAlgorithm;
  readonly sliceBytes?: number;
  readonly noAutoSync?: boolean;
  readonly noFailSync?: boolean;
  /** Whether the labels name the only disk that a kernel takes for the component. */
  readonly isHardcoded?: boolean;
}

/**
 * Changes what the labels of a running mirror say, and how it works from now on. Resolves when that is on stable storage;
 * a crash before that leaves the old or the new settings. Rejects with MembershipError, in gmirror's words where it has
 * them, before anything is changed, and with DeviceError if no label could be written; nothing is changed then either.
 */
export async function changeSettings(mirror: Mirror, change: SettingsChange): Promise<void> {
  requireAllConnected(mirror);
  const settings = newSettings(mirror, change);
  const conduct = conductNow(newConduct(mirror.conduct, change), settings, mirror.components);
  const names = change.isHardcoded === undefined ? null : hardcodedNames(mirror, change.isHardcoded);
  const before = { settings: mirror.settings, conduct: mirror.conduct };
  const namesBefore = mirror.components.map((one) => [one, one.settings] as const);
  const isRenamed =
    names !== null && namesBefore.some(([one, own]) => own.hardcodedProvider !== names.get(one));
  if (!isRenamed && isSame(before.settings, settings) && isSame(before.conduct, conduct)) throw unchanged();
  mirror.configure(settings, conduct);
  for (const [component, hardcodedProvider] of names ?? [])
    component.settings = { ...component.settings, hardcodedProvider };
  try {
    await mirror.journal.writeAll();
  } catch (error) {
    mirror.configure(before.settings ?? settings, before.conduct);
    for (const [component, own] of namesBefore) component.settings = own;
    throw error;
  }
  if (!mirror.isAutosync) return;
  for (const component of mirror.components)
    if (component.state === 'STALE') await mirror.startResync(component);
}

/** As changeSettings(). Reads are answered in the new order from now on. */
export async function changePriority(mirror: Mirror, component: Component, priority: number): Promise<void> {
  requireAllConnected(mirror);
  if (!component.takesWrites) {
    throw new MembershipError(`${component.name} is ${component.state}, and its label is not written now`);
  }
  const before = component.identity.priority;
  if (before === priority) throw unchanged();
  mirror.setPriority(component, priority);
  try {
    await mirror.journal.writeAll();
  } catch (error) {
    mirror.setPriority(component, before);
    throw error;
  }
}

const unchanged = (): MembershipError => new MembershipError('Nothing has changed.');

/** In gmirror's words: a label that is not there can't be written. */
function requireAllConnected({ components }: Mirror): void {
  const absent = components.filter((component) => !component.isConnected);
  if (absent.length === 0) return;
  const names = absent.map(({ name }) => name).join(', ');
  throw new MembershipError(`Not all disks connected. Try 'forget' command first. (${names})`);
}

function newSettings({ settings, options, components }: Mirror, change: SettingsChange): MirrorSettings {
  const { balance, sliceBytes, noAutoSync, noFailSync } = change;
  const now = settings ?? {
    balance: numberOf(options.balance ?? defaultBalance(components.map(({ identity }) => identity))),
    sliceBytes: options.sliceBytes,
    noAutoSync: false,
    noFailSync: false,
  };
  return {
    balance: balance === undefined ? now.balance : numberOf(balance),
    sliceBytes: sliceBytes ?? now.sliceBytes,
    noAutoSync: noAutoSync ?? now.noAutoSync,
    noFailSync: noFailSync ?? now.noFailSync,
  };
}

const numberOf = (balance: BalanceAlgorithm): number =>
  balanceNumber(balance === 'prefer-local' ? 'prefer' : balance);

function newConduct(now: Conduct, { balance, sliceBytes, noAutoSync }: SettingsChange): Conduct {
  return {
    algorithm: balance ?? now.algorithm,
    isAsLabelled: now.isAsLabelled || balance !== undefined,
    sliceBytes: sliceBytes ?? now.sliceBytes,
    // Whoever says it now wins over the start.
    isAutosync: noAutoSync === undefined ? now.isAutosync : !noAutoSync,
  };
}

function hardcodedNames({ components }: Mirror, isHardcoded: boolean): Map<Component, string> {
  return new Map(
    components.map((component) => {
      const name = isHardcoded ? kernelNameOf(component.name) : '';
      if (name !== null) return [component, name];
      throw new MembershipError(
        `${component.name} has no name of at most 15 bytes that a kernel would know it by; nothing was changed`,
      );
    }),
  );
}

const isSame = (one: object | null, other: object): boolean =>
  one !== null &&
  Object.entries(other).every(([key, value]) => (one as Record<string, unknown>)[key] === value);
