import type { Clock } from '../device/clock.js';
import type { RandomSource } from '../device/random.js';
import { assemble, type ProviderOpener } from '../mirror/start/assemble.js';
import type { StartPlan } from '../mirror/start/assembled.js';
import { EXTENTS_MAX, IDLE_CLEAN_MS } from './limits.js';

export interface SettleOptions {
  /** Of the mirror, which does not run. */
  readonly name: string;
  readonly providers: readonly ProviderOpener[];
  /** Although components are missing. */
  readonly degraded: boolean;
  readonly timeoutMs: number;
  /** Names of providers; what only they have is given up. */
  readonly discard: readonly string[];
  /** What it throws ends it, and nothing was written. */
  readonly approve: (plan: StartPlan) => Promise<void>;
  readonly clock: Clock;
  readonly random: RandomSource;
}

/**
 * Settles the split brain of a mirror that does not run: it is started, so that all components say on stable storage who
 * is copied to, and ended again. The next start goes on with the copy. Rejects with AssembleError and DeviceError.
 */
export async function settleStopped({ timeoutMs, ...options }: SettleOptions): Promise<void> {
  const assembled = await assemble({
    ...options,
    timeoutMs,
    events: { changed: () => undefined },
    idleMs: IDLE_CLEAN_MS,
    extentsMax: EXTENTS_MAX,
    isAutosync: true,
    resyncBytesPerSecond: 0,
  });
  const { mirror } = assembled;
  try {
    // Who waits for a person says with this that it is behind, too.
    for (const component of mirror.components)
      if (component.state === 'STALE') await mirror.startResync(component);
  } finally {
    await assembled.close();
  }
}
