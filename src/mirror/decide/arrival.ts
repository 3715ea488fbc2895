import type { Side } from './pair-facts.js';
import { decidePair, mustHear, needsAll } from './pair-table.js';
import type { Superblock, Uuid } from '../../protocol/superblock.js';

/**
 * Why a component that came is left alone until a person decides:
 * - 'split brain': it was written without the mirror, and the mirror without it.
 * - 'newer': it has what the mirror misses, which was started without it.
 * - 'foreign': it belongs to something else.
 * - 'resized': it is a component of this mirror with another size than the mirror has.
 */
export const ARRIVAL_REFUSALS = ['split brain', 'newer', 'foreign', 'resized'] as const;
export type ArrivalRefusal = (typeof ARRIVAL_REFUSALS)[number];

export interface CopyWish {
  /** Copy everything; else what is marked. */
  readonly isFull: boolean;
  /** Its own log and bitmaps count too. */
  readonly isUnheard: boolean;
}

/** What is to be done with a component that comes while the mirror runs. */
export type Verdict =
  | ({ readonly outcome: 'accept' } & CopyWish)
  /** Neither side is touched. The wish is what it would be once what it has is given up. */
  | ({ readonly outcome: 'split brain' | 'newer' } & CopyWish)
  | { readonly outcome: 'foreign' }
  | { readonly outcome: 'resized' };

/** A component that came and was sent away again. */
export interface RefusedArrival {
  readonly outcome: ArrivalRefusal;
  /** How much would be copied to it if what it has were given up; null where that can't be. */
  readonly copyBytes: number | null;
}

export interface ArrivalFacts {
  readonly mirrorUuid: Uuid;
  readonly componentUuid: Uuid;
  readonly mediaSizeBytes: number;
  /** The running mirror. */
  readonly mirror: Side;
  /** We have decided that nothing tells what it misses. */
  readonly isFull: boolean;
}

export type Arriving = Side & { readonly superblock: Superblock };

/** As two components that meet at a start: the table of pairs, with the running mirror as one of them. */
export function judgeArrival(arriving: Arriving, facts: ArrivalFacts): Verdict {
  const { mirror } = facts;
  const { mirrorUuid, componentUuid, mediaSizeBytes, slot } = arriving.superblock;
  if (mirrorUuid !== facts.mirrorUuid || componentUuid !== facts.componentUuid) return { outcome: 'foreign' };
  if (mediaSizeBytes !== facts.mediaSizeBytes) return { outcome: 'resized' };
  const { source, copy, refusal } = decidePair(mirror, arriving);
  const isFull = facts.isFull || copy === 'everything' || needsAll(mirror, slot);
  if (refusal === 'split brain') return { outcome: 'split brain', isFull, isUnheard: true };
  if (refusal === 'no source') return { outcome: 'newer', isFull: true, isUnheard: true };
  if (source === 'peer') return { outcome: 'newer', isFull, isUnheard: true };
  return { outcome: 'accept', isFull, isUnheard: mustHear(mirror, slot) };
}
