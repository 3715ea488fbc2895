import { NO_UUID, type Superblock } from '../protocol/superblock.js';
import type { JournalState } from './journal.js';

/** What is to be done with a component that comes while the mirror runs. */
export type Verdict =
  /** Copy what is marked. */
  | 'marked'
  /** Copy everything: what it has is older than what we remember, or can't be trusted. */
  | 'full'
  /** It was written without us. Neither side is touched. */
  | 'split brain'
  /** It belongs to something else. */
  | 'foreign';

export interface ArrivalFacts {
  readonly mirrorUuid: string;
  readonly componentUuid: string;
  readonly slot: number;
  readonly journal: JournalState;
  /** What we remember of it can't tell which regions it misses. */
  readonly isFull: boolean;
  /** Its label was changed by somebody else, or its image was. */
  readonly isTouched: boolean;
}

/**
 * The first row that fits decides. Source: DRBD's comparison of generation identifiers.
 * "Known" generations are our current one, those in our history, and the one at which it was lost.
 */
export function judgeArrival(superblock: Superblock, facts: ArrivalFacts): Verdict {
  const { journal, slot } = facts;
  if (superblock.mirrorUuid !== facts.mirrorUuid || superblock.componentUuid !== facts.componentUuid)
    return 'foreign';
  const lostAt = journal.lostAt[slot] ?? NO_UUID;
  const isKnown =
    superblock.current === journal.current ||
    superblock.current === lostAt ||
    journal.history.includes(superblock.current);
  if (!isKnown) return 'split brain';
  if (facts.isTouched || facts.isFull) return 'full';
  if (superblock.current === journal.current || superblock.current === lostAt) return 'marked';
  return 'full';
}
