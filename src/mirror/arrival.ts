import type { Side } from './decide/pair-facts.js';
import { decidePair, mustHear, needsAll } from './decide/pair-table.js';
import type { Superblock, Uuid } from '../protocol/superblock.js';

/** What is to be done with a component that comes while the mirror runs. */
export type Verdict =
  | {
      readonly outcome: 'accept';
      /** Copy everything; else what is marked. */
      readonly isFull: boolean;
      /** Its own log and bitmaps count too. */
      readonly isUnheard: boolean;
    }
  | {
      /**
       * - 'split brain': it was written without us. Neither side is touched.
       * - 'newer': it has what the mirror misses, which was started without it. Neither side is touched.
       * - 'foreign': it belongs to something else.
       */
      readonly outcome: 'split brain' | 'newer' | 'foreign';
    };

export interface ArrivalFacts {
  readonly mirrorUuid: Uuid;
  readonly componentUuid: Uuid;
  /** The running mirror. */
  readonly mirror: Side;
  /** We have decided that nothing tells what it misses. */
  readonly isFull: boolean;
  /** A person has given up what was written to it without us, should that be so. */
  readonly isDiscarded: boolean;
}

export type Arriving = Side & { readonly superblock: Superblock };

/** As two components that meet at a start: the table of pairs, with the running mirror as one of them. */
export function judgeArrival(arriving: Arriving, facts: ArrivalFacts): Verdict {
  const { mirror, isDiscarded } = facts;
  const { mirrorUuid, componentUuid, slot } = arriving.superblock;
  if (mirrorUuid !== facts.mirrorUuid || componentUuid !== facts.componentUuid) return { outcome: 'foreign' };
  const { source, copy, refusal } = decidePair(mirror, arriving);
  const isSplit = refusal === 'split brain';
  if (isSplit && !isDiscarded) return { outcome: 'split brain' };
  if (source === 'peer' || refusal === 'no source') return { outcome: 'newer' };
  const isFull = facts.isFull || copy === 'everything' || needsAll(mirror, slot);
  return { outcome: 'accept', isFull, isUnheard: isSplit || mustHear(mirror, slot) };
}
