import type { TlsOptions } from 'node:tls';
import type { Clock } from '../device/clock.js';
import type { RandomSource } from '../device/random.js';
import type { BalanceAlgorithm } from '../mirror/balance.js';
import type { SplitBrainPolicy } from '../mirror/decide/split-brain-policy.js';
import type { MirrorEvents } from '../mirror/mirror.js';
import type { Conduct } from '../mirror/mirror-options.js';
import type { AssembleOptions, ProviderOpener } from '../mirror/start/assemble.js';
import type { NbdEndpoint } from '../server/nbd/nbd-server.js';
import type { ServerLog } from '../server/server-log.js';
import type { GgateFrontOptions } from './front-ends.js';
import type { StartHook } from './hooks.js';
import { EXTENTS_MAX, IDLE_CLEAN_MS } from './limits.js';

export interface MirrorServiceOptions {
  readonly name: string;
  readonly providers: readonly ProviderOpener[];
  /** For providers that are inserted later. */
  readonly openerOf: (text: string) => ProviderOpener;
  /** Start although components are missing. */
  readonly degraded: boolean;
  /** The provider whose data a person has chosen: all others are overwritten. Null for the decision by generations. */
  readonly source: string | null;
  /** Null for what the label says. */
  readonly balance: BalanceAlgorithm | null;
  /** Null for what the label says. */
  readonly sliceBytes: number | null;
  /** A component that is silent for this long is dropped. */
  readonly timeoutMs: number;
  readonly isAutosync: boolean;
  /** 0 for as fast as it goes. */
  readonly resyncBytesPerSecond: number;
  readonly afterSplitBrain: SplitBrainPolicy;
  /** See MirrorOptions. */
  readonly isUnsafeFlushWanted: boolean;
  readonly controlPath: string;
  /**
   * With `degraded`: not without a remote component that is there and in use by somebody else, who may have taken over.
   * The start fails with ASSEMBLE_MISSING then.
   */
  readonly respectsUsers: boolean;
  /** Not from a component that may have lost what was written to it last: the start fails with ASSEMBLE_DOUBTFUL then. */
  readonly refusesDoubt: boolean;
  /** See AssembleOptions. */
  readonly allowsMixture: boolean;
  /** Whether a start that failed so is tried again: then nobody is told of it. Left out: none is. */
  readonly isTriedAgain?: (error: unknown) => boolean;
  /** Called just before the control socket is made: whoever has answered on it so far stops that. */
  readonly handOver?: () => Promise<void>;
  /** Served to root only. */
  readonly nbdPath: string;
  readonly nbdTcp: { readonly host: string; readonly port: number; readonly tls?: TlsOptions } | null;
  /** Null if nobody is to reach the mirror over ggate. */
  readonly ggate: GgateFrontOptions | null;
  /** What is called when something happens to the mirror; null for nothing. */
  readonly hook: StartHook | null;
  readonly pid: number;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly log: ServerLog;
}

/**
 * Of a mirror that ran until now: what was said once for the start holds no more, and what was changed since holds on.
 */
export function againOptions(
  options: MirrorServiceOptions,
  { algorithm, isAsLabelled, sliceBytes, isAutosync }: Conduct,
): MirrorServiceOptions {
  const balance = isAsLabelled ? null : algorithm;
  return { ...options, balance, sliceBytes, isAutosync, degraded: true, source: null };
}

export function assembleOptions(
  options: MirrorServiceOptions,
  providers: readonly ProviderOpener[],
  events: MirrorEvents,
): AssembleOptions {
  const { name, degraded, source, balance, sliceBytes, clock, random, timeoutMs, isAutosync } = options;
  return {
    ...{ name, providers, degraded, source, clock, random, events, timeoutMs, isAutosync },
    allowsMixture: options.allowsMixture,
    ...(balance === null ? {} : { balance }),
    ...(sliceBytes === null ? {} : { sliceBytes }),
    resyncBytesPerSecond: options.resyncBytesPerSecond,
    afterSplitBrain: options.afterSplitBrain,
    isUnsafeFlushWanted: options.isUnsafeFlushWanted,
    idleMs: IDLE_CLEAN_MS,
    extentsMax: EXTENTS_MAX,
    // A slow link holds up the first write, but neither reads nor whoever starts the mirror.
    waitsForResyncs: false,
  };
}

export function endpointsOf({ nbdPath, nbdTcp }: MirrorServiceOptions): NbdEndpoint[] {
  return nbdTcp === null ? [{ unixPath: nbdPath }] : [{ unixPath: nbdPath }, nbdTcp];
}
