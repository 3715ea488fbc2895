/**
 * Who is given up, of two sides that were written without one another. Named as DRBD names them; 'younger' and 'older' are
 * DRBD's younger and older primary. 'disconnect': nobody; a person decides.
 */
export const SPLIT_BRAIN_POLICIES = [
  'disconnect',
  'discard-zero-changes',
  'discard-least-changes',
  'discard-younger',
  'discard-older',
] as const;
export type SplitBrainPolicy = (typeof SPLIT_BRAIN_POLICIES)[number];

/** What one side did without the other. */
export interface SplitSide {
  /** How much it may have changed, by its own bitmaps and log. */
  readonly changedBytes: number;
  /** It was started without the other. Else it ran when it lost it, and went on: it is the older one. */
  readonly wasStartedAlone: boolean;
}

/**
 * The side that is given up, or null where the policy does not tell: then it is as without one. Nothing here asks a
 * clock, since two hosts have two. Only for a split brain of which both bitmaps together tell what differs.
 */
export function givenUp(policy: SplitBrainPolicy, self: SplitSide, peer: SplitSide): 'self' | 'peer' | null {
  switch (policy) {
    case 'disconnect':
      return null;
    case 'discard-zero-changes':
      if (peer.changedBytes === 0) return 'peer';
      return self.changedBytes === 0 ? 'self' : null;
    case 'discard-least-changes':
      if (self.changedBytes === peer.changedBytes) return self.changedBytes === 0 ? 'peer' : null;
      return self.changedBytes < peer.changedBytes ? 'self' : 'peer';
    case 'discard-younger':
      if (self.wasStartedAlone === peer.wasStartedAlone) return null;
      return self.wasStartedAlone ? 'self' : 'peer';
    case 'discard-older':
      if (self.wasStartedAlone === peer.wasStartedAlone) return null;
      return self.wasStartedAlone ? 'peer' : 'self';
  }
}
