import type { RefusedArrival } from '../mirror/decide/arrival.js';
import type { BalanceAlgorithm } from '../mirror/balance.js';
import type { Component } from '../mirror/component.js';
import type { ComponentState } from '../mirror/component-state.js';
import type { Mirror } from '../mirror/mirror.js';
import { type FlushPromise, flushPromiseOf } from '../mirror/mirror-flush.js';
import { NO_UUID } from '../protocol/superblock.js';
import type { GgateStatus } from './front-ends.js';
import type { NbdAddress } from '../server/nbd/nbd-server.js';
import { shownProgress, type ProgressStatus } from './progress-status.js';
import { verifyStatusOf, type VerifyStatus } from './verify-status.js';

/** What is shown of a resync. */
export interface ResyncStatus extends ProgressStatus {
  /** Of what is done: written as data, zeroed without data, and found equal by checksums, so that it did not travel. */
  readonly sentBytes: number;
  readonly zeroedBytes: number;
  readonly equalBytes: number;
}

/** Of a resync that has said so durably, and not begun to copy. */
const NOTHING_YET: ResyncStatus = {
  percent: 0,
  copiedBytes: 0,
  totalBytes: 0,
  leftBytes: 0,
  rateBytesPerSecond: null,
  leftSeconds: null,
  sentBytes: 0,
  zeroedBytes: 0,
  equalBytes: 0,
};

/** Of a whole provider, private area and label included. */
export interface ProviderSize {
  readonly mediaSizeBytes: number;
  readonly sectorSizeBytes: number;
}

export interface ComponentStatus {
  /** As the administrator gave it. */
  readonly name: string;
  readonly uuid: string;
  readonly state: ComponentState;
  /** As it was when it was opened last; null if it never was. */
  readonly provider: ProviderSize | null;
  readonly priority: number;
  /** In gmirror's words and order: DIRTY, HARDCODED, INACTIVE, SYNCHRONIZING. */
  readonly flags: readonly string[];
  /** Somebody has deactivated it, and it stays out until it is activated. */
  readonly isInactive: boolean;
  readonly isLocal: boolean;
  /** False for one that is not connected. */
  readonly canFlush: boolean;
  /** Null for one that is not SYNCHRONIZING. */
  readonly resync: ResyncStatus | null;
  /** How much it may miss; all of the medium if it needs a full copy. */
  readonly markedBytes: number;
  readonly needsFullCopy: boolean;
  readonly reads: number;
  readonly writes: number;
  readonly bytesRead: number;
  readonly bytesWritten: number;
  readonly errors: number;
  readonly inFlight: number;
  /**
   * It was seen, and is left alone until a person decides: it was written without the others, has what the mirror misses,
   * or belongs to another mirror. With how much would be copied to it if what it has were given up. Null if it was not.
   */
  readonly refused: RefusedArrival | null;
  /** Why it is not connected, or the last thing that went wrong; null if nothing did. */
  readonly why: string | null;
}

/** A running mirror, as `ggmirror status --json` prints it. */
export interface MirrorStatus {
  readonly name: string;
  /** STARTING: it waits for components, and all that is not known yet is 0, empty or false. */
  readonly state: 'STARTING' | 'COMPLETE' | 'DEGRADED';
  /** What it waits for while STARTING, a sentence; null otherwise. */
  readonly waitsFor: string | null;
  readonly pid: number;
  readonly mediaSizeBytes: number;
  readonly sectorSizeBytes: number;
  readonly balance: BalanceAlgorithm;
  readonly sliceBytes: number;
  readonly isAutosync: boolean;
  /** In gmirror's words: NOFAILSYNC, NOAUTOSYNC. */
  readonly flags: readonly string[];
  /** What becomes of callers' flushes now. */
  readonly flushes: FlushPromise;
  /** Written to since labels were last made clean. */
  readonly isDirty: boolean;
  readonly uuid: string;
  /** The generation of the data. */
  readonly generation: string;
  readonly genid: number;
  readonly syncid: number;
  /** Some component is behind, and not yet recorded so. */
  readonly isLossPending: boolean;
  readonly nbd: readonly NbdAddress[];
  /** Null if the mirror is not to be reached over ggate. */
  readonly ggate: GgateStatus | null;
  readonly clients: number;
  /** The verify that runs or ran last; null if there was none since the start. */
  readonly verify: VerifyStatus | null;
  /** In the order of their slots. */
  readonly components: readonly ComponentStatus[];
}

/** What the mirror itself does not know of its surroundings. */
export interface Surroundings {
  readonly name: string;
  readonly pid: number;
  readonly isAutosync: boolean;
  readonly nbd: readonly NbdAddress[];
  readonly ggate: GgateStatus | null;
  readonly clients: number;
  /** By the components' names. */
  readonly providers: ReadonlyMap<string, ProviderSize>;
}

export function statusOf(mirror: Mirror, around: Surroundings): MirrorStatus {
  const { current, genid, syncid } = mirror.journal.state;
  const bySlot = [...mirror.components].sort((one, other) => one.identity.slot - other.identity.slot);
  return {
    name: around.name,
    state: mirror.state,
    waitsFor: null,
    pid: around.pid,
    mediaSizeBytes: mirror.mediaSizeBytes,
    sectorSizeBytes: mirror.sectorSizeBytes,
    balance: mirror.conduct.algorithm,
    sliceBytes: mirror.conduct.sliceBytes,
    isAutosync: mirror.isAutosync,
    flags: chosen({ NOFAILSYNC: mirror.settings?.noFailSync, NOAUTOSYNC: !mirror.isAutosync }),
    flushes: flushPromiseOf(mirror),
    isDirty: mirror.log.size > 0,
    uuid: mirror.options.uuid,
    generation: current,
    genid,
    syncid,
    isLossPending: mirror.mustWait,
    nbd: around.nbd,
    ggate: around.ggate,
    clients: around.clients,
    verify: mirror.verification === null ? null : verifyStatusOf(mirror.verification),
    components: bySlot.map((component) => componentStatus(mirror, component, around.providers)),
  };
}

function componentStatus(
  mirror: Mirror,
  component: Component,
  providers: Surroundings['providers'],
): ComponentStatus {
  const { identity, state, counters, missing, isFull } = component;
  const isBehind = mirror.journal.state.lostAt[identity.slot] !== NO_UUID || state !== 'ACTIVE';
  const { markedBytes } = missing;
  return {
    name: identity.name,
    uuid: identity.uuid,
    state,
    provider: providers.get(identity.name) ?? null,
    priority: identity.priority,
    flags: flagsOf(mirror, component),
    isInactive: component.isInactive,
    isLocal: identity.isLocal,
    canFlush: component.can.flush,
    resync: resyncStatus(mirror, component),
    markedBytes: isBehind && isFull ? mirror.mediaSizeBytes : markedBytes,
    needsFullCopy: isFull,
    ...counters,
    inFlight: component.inFlight,
    refused: component.refused,
    why: component.trouble,
  };
}

function flagsOf(mirror: Mirror, { state, isInactive, settings }: Component): string[] {
  const isDirty = mirror.log.size > 0 && mirror.settings?.noFailSync !== true;
  return chosen({
    DIRTY: isDirty && state === 'ACTIVE',
    HARDCODED: (settings.hardcodedProvider ?? '') !== '',
    INACTIVE: isInactive,
    SYNCHRONIZING: state === 'SYNCHRONIZING',
  });
}

const chosen = (flags: Readonly<Record<string, boolean | undefined>>): string[] =>
  Object.keys(flags).filter((name) => flags[name] === true);

function resyncStatus(mirror: Mirror, component: Component): ResyncStatus | null {
  if (component.state !== 'SYNCHRONIZING') return null;
  const progress = mirror.resyncOf(component);
  if (progress === null) return NOTHING_YET;
  const { sentBytes, zeroedBytes, equalBytes } = progress;
  return { ...shownProgress(progress), sentBytes, zeroedBytes, equalBytes };
}
