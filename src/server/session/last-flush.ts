import { type Clock, delay } from '../../device/clock.js';
import { messageOf } from '../../protocol/errors.js';
import type { FlushDebt } from '../flush-debt.js';
import type { SessionMemory } from './memory.js';
import type { SessionEnd } from './messages.js';
import type { SlowRequests } from './slow-requests.js';

/** How long the end of a session may take: requests in flight, then the flush. The daemon kills what takes longer. */
export const LAST_FLUSH_MS_MAX = 8000;

const POLL_MS = 5;

export interface EndingSession {
  readonly canWrite: boolean;
  readonly memory: SessionMemory;
  readonly slow: Pick<SlowRequests, 'isFlushing' | 'hasFlushFailed'>;
  readonly debt: FlushDebt;
  readonly flush: () => Promise<void>;
  /** A line for the log. */
  readonly failed: (message: string) => void;
  readonly clock: Clock;
}

export interface LastFlush {
  readonly isFlushed: boolean;
  /** A flush failed, or may yet fail, and perhaps no client was told: the next session's first one has to fail. */
  readonly owesFlush: boolean;
}

/** Flushes what a session that is over has written, after the requests that it has accepted. Never rejects. */
export async function lastFlush(reason: SessionEnd, session: EndingSession): Promise<LastFlush> {
  const { canWrite, slow, debt, clock } = session;
  if (!canWrite) return { isFlushed: true, owesFlush: false };
  // Who ends a session waits for its answers. The end of a program that was killed comes between two requests, too.
  const hasClientEnded = reason === 'detached' && session.memory.slow === 0;
  const isFlushed = await Promise.race([
    flushIfDirty(session),
    delay(clock, LAST_FLUSH_MS_MAX).then(() => false),
  ]);
  // Of a client that did not end its session nobody knows whether it has read that.
  const isUntold = slow.hasFlushFailed && !hasClientEnded;
  return { isFlushed, owesFlush: !isFlushed || isUntold || debt.isOwed };
}

async function flushIfDirty({ memory, slow, flush, failed, clock }: EndingSession): Promise<boolean> {
  // Requests that were accepted before the end are finished and answered first.
  const beganAtMs = clock.nowMs();
  // A flush of the client's that takes long is waited for as long as can be: given up, it is owed.
  const maxMs = (): number => (slow.isFlushing ? LAST_FLUSH_MS_MAX : LAST_FLUSH_MS_MAX / 2);
  while (memory.slow > 0 && clock.nowMs() - beganAtMs < maxMs()) await delay(clock, POLL_MS);
  try {
    if (memory.takeDirty()) await flush();
  } catch (error) {
    failed(`flush at the end failed: ${messageOf(error)}`);
    return false;
  }
  // A flush of the client's that hangs may be the one that is told of a failure.
  return !slow.isFlushing;
}
