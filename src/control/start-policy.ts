import { doneWithin, type Clock } from '../device/clock.js';
import { AssembleError } from '../mirror/start/assemble.js';
import { messageOf } from '../protocol/errors.js';
import { START_POLL_MS } from './limits.js';

/**
 * What a start does when components are missing, which may have newer data:
 * - 'safe': after a crash it waits for those that were in step then, as one of them may have taken over; else it refuses;
 * - 'complete': it refuses;
 * - 'wait': it waits, for as long as it takes;
 * - a number of seconds: it waits so long, and then starts without them, but for those that somebody else uses;
 * - 'degraded': it starts without them.
 */
export type StartPolicy = 'safe' | 'complete' | 'wait' | 'degraded' | number;

export interface PatientStart<Started> {
  readonly policy: StartPolicy;
  /** Rejects with AssembleError; `isTriedAgain` says whether that is the end of it. */
  readonly attempt: (
    isDegradedAllowed: boolean,
    isTriedAgain: (error: unknown) => boolean,
  ) => Promise<Started>;
  /** It waits, and for what; once for each different reason. Resolves when those who have to know do. */
  readonly waits: (why: string) => Promise<void>;
  /** Settles when nobody wants it any more. Asked for after the first call of waits(). */
  readonly ended: () => Promise<unknown>;
  readonly clock: Clock;
}

/** Resolves with what was started; null if it was ended while it waited. Rejects as the last attempt does. */
export async function startPatiently<Started>(start: PatientStart<Started>): Promise<Started | null> {
  const { policy, attempt, waits, clock } = start;
  const limitMs = typeof policy === 'number' ? policy * 1000 : Infinity;
  const startMs = clock.nowMs();
  let why: string | null = null;
  let ended: Promise<unknown> | null = null;
  for (;;) {
    const leftMs = limitMs - (clock.nowMs() - startMs);
    const isDegraded = policy === 'degraded' || leftMs <= 0;
    const isTriedAgain = (error: unknown): boolean => isWaitedFor(error, policy, why !== null);
    try {
      return await attempt(isDegraded, isTriedAgain);
    } catch (error) {
      if (!isTriedAgain(error)) throw error;
      const reason = messageOf(error);
      if (reason !== why) await waits(reason);
      why = reason;
    }
    ended ??= start.ended().catch(() => undefined);
    const pollMs = leftMs > 0 ? Math.min(START_POLL_MS, leftMs) : START_POLL_MS;
    if (await doneWithin(ended, pollMs, clock)) return null;
  }
}

function isWaitedFor(error: unknown, policy: StartPolicy, hasWaited: boolean): boolean {
  if (!(error instanceof AssembleError) || error.code !== 'ASSEMBLE_MISSING') return false;
  // Once it waits it goes on, also when it can't see why any more.
  if (policy === 'safe') return error.isAfterCrash || hasWaited;
  return policy === 'wait' || typeof policy === 'number';
}
