import { compareFreshness } from '../../protocol/gmirror-checks.js';
import { NO_UUID, type SlotRecord, type Superblock } from '../../protocol/superblock.js';

/** Who changed a component since we did. 'label': its label was written, as the kernel's gmirror does; 'image': its file was. */
export type Touch = 'label' | 'image' | null;

/** One of two components of one mirror, or the running mirror itself, as seen from one of its ACTIVE components. */
export interface Side {
  readonly superblock: Pick<
    Superblock,
    | 'slot'
    | 'componentUuid'
    | 'slots'
    | 'current'
    | 'history'
    | 'isRunning'
    | 'isInconsistent'
    | 'genid'
    | 'syncid'
  >;
  /** Of its label, as it is now. */
  readonly genid: number;
  readonly syncid: number;
  readonly touch: Touch;
}

/** How the generations of two sides stand to each other. Their meaning: docs/generations.md, "Facts". */
export const GENERATIONS = [
  'level',
  'level, peer lost',
  'level, self lost',
  'level, both lost',
  'self went on',
  'peer went on',
  'self long ahead',
  'peer long ahead',
  'parted',
  'strangers',
] as const;
export type Generations = (typeof GENERATIONS)[number];

/** Which side is a mixture of old and new data, because its resync did not end. */
export const MIXTURES = ['neither', 'self', 'peer', 'both'] as const;
export type Mixture = (typeof MIXTURES)[number];

/** Who was changed by somebody else. */
export const TOUCHES = [
  'neither',
  'kernel ran self',
  'kernel ran peer',
  'kernel ran both',
  'kernel ran both, self newer',
  'kernel ran both, peer newer',
  'kernel ran both apart',
  'image changed',
] as const;
export type Touches = (typeof TOUCHES)[number];

/** All that decides between two components. */
export interface PairFacts {
  readonly generations: Generations;
  readonly mixture: Mixture;
  readonly touch: Touches;
  /** A run did not end on one side or the other, or one can't flush what it was sent. */
  readonly isUnclean: boolean;
}

export const pairFacts = (self: Side, peer: Side): PairFacts => ({
  generations: generationsOf(self, peer),
  mixture: mixtureOf(self.superblock.isInconsistent, peer.superblock.isInconsistent),
  touch: touchesOf(self, peer),
  isUnclean: isUnclean(self, peer) || isUnclean(peer, self),
});

/** Whether `other` is a component, as far as `side` knows. */
export const knows = (side: Side, other: Side): boolean =>
  side.superblock.slots[other.superblock.slot]?.componentUuid === other.superblock.componentUuid;

/** Not what `side` says of another component that had this slot before, or has it since. */
const recordOf = (side: Side, other: Side): SlotRecord | undefined =>
  knows(side, other) ? side.superblock.slots[other.superblock.slot] : undefined;
const lostAtOf = (side: Side, other: Side): string => recordOf(side, other)?.lostAt ?? NO_UUID;

/**
 * What `self` knows of the generation that `peer` has. 'covered': its bitmap tells everything that peer misses, since peer
 * was lost at this generation, or at an older one and got to know of this one too late.
 */
function knowledgeOf(self: Side, peer: Side): 'covered' | 'known' | 'unknown' {
  const { history } = self.superblock;
  const { current } = peer.superblock;
  const lostAt = lostAtOf(self, peer);
  if (lostAt !== NO_UUID && current === lostAt) return 'covered';
  const at = history.indexOf(current);
  if (at < 0) return 'unknown';
  return at < history.indexOf(lostAt) ? 'covered' : 'known';
}

function generationsOf(self: Side, peer: Side): Generations {
  const [peerLostAt, selfLostAt] = [lostAtOf(self, peer), lostAtOf(peer, self)];
  if (self.superblock.current === peer.superblock.current) {
    if (peerLostAt !== NO_UUID) return selfLostAt === NO_UUID ? 'level, peer lost' : 'level, both lost';
    return selfLostAt === NO_UUID ? 'level' : 'level, self lost';
  }
  const [ofPeer, ofSelf] = [knowledgeOf(self, peer), knowledgeOf(peer, self)];
  if (ofPeer !== 'unknown' && ofSelf !== 'unknown') return contradiction(self, peer);
  if (ofPeer !== 'unknown') return ofPeer === 'covered' ? 'self went on' : 'self long ahead';
  if (ofSelf !== 'unknown') return ofSelf === 'covered' ? 'peer went on' : 'peer long ahead';
  const isCovered =
    peer.superblock.history.includes(peerLostAt) && self.superblock.history.includes(selfLostAt);
  return isCovered ? 'parted' : 'strangers';
}

/**
 * Each knows the other's generation. A mixture has the generation of before its resync, and knows what its source knew,
 * so what it says of the other is news; of two whole components nobody can have written that.
 */
function contradiction(self: Side, peer: Side): Generations {
  const mixture = mixtureOf(self.superblock.isInconsistent, peer.superblock.isInconsistent);
  if (mixture === 'peer' && lostAtOf(peer, self) === self.superblock.current) return 'peer went on';
  if (mixture === 'self' && lostAtOf(self, peer) === peer.superblock.current) return 'self went on';
  return 'strangers';
}

function mixtureOf(isSelf: boolean, isPeer: boolean): Mixture {
  if (isSelf) return isPeer ? 'both' : 'self';
  return isPeer ? 'peer' : 'neither';
}

function touchesOf(self: Side, peer: Side): Touches {
  if (self.touch === 'image' || peer.touch === 'image') return 'image changed';
  if (self.touch === null) return peer.touch === null ? 'neither' : 'kernel ran peer';
  if (peer.touch === null) return 'kernel ran self';
  const difference = compareFreshness(self, peer);
  if (difference !== 0) return `kernel ran both, ${difference > 0 ? 'self' : 'peer'} newer`;
  // A kernel that runs both raises nothing. It does so for one that it runs alone, and two of those end up level too.
  const isRaised = [self, peer].some((side) => compareFreshness(side, side.superblock) > 0);
  return isRaised ? 'kernel ran both apart' : 'kernel ran both';
}

function isUnclean(side: Side, other: Side): boolean {
  const { isRunning, slots, slot } = side.superblock;
  return isRunning || slots[slot]?.isMarked === true || recordOf(side, other)?.isMarked === true;
}
