import { describe, expect, test } from 'vitest';
import {
  givenUp,
  SPLIT_BRAIN_POLICIES,
  type SplitBrainPolicy,
  type SplitSide,
} from '../../../src/mirror/decide/split-brain-policy.js';

const SIDES: readonly SplitSide[] = [0, 1, 2].flatMap((changedBytes) =>
  [false, true].map((wasStartedAlone) => ({ changedBytes, wasStartedAlone })),
);
const CASES = SPLIT_BRAIN_POLICIES.flatMap((policy) =>
  SIDES.flatMap((self) => SIDES.map((peer) => ({ policy, self, peer }))),
);
const loser = (policy: SplitBrainPolicy, self: Partial<SplitSide>, peer: Partial<SplitSide>): string | null =>
  givenUp(
    policy,
    { changedBytes: 1, wasStartedAlone: false, ...self },
    { changedBytes: 1, wasStartedAlone: false, ...peer },
  );

describe('after a split brain', () => {
  test('nobody is given up unless a policy was chosen', () => {
    for (const { self, peer } of CASES) expect(givenUp('disconnect', self, peer)).toBeNull();
  });

  test('both sides come to the same conclusion, but where neither has anything to lose', () => {
    const other = { self: 'peer', peer: 'self' } as const;
    for (const { policy, self, peer } of CASES) {
      if (self.changedBytes === 0 && peer.changedBytes === 0) continue;
      const side = givenUp(policy, self, peer);
      expect(givenUp(policy, peer, self), JSON.stringify({ policy, self, peer })).toBe(
        side === null ? null : other[side],
      );
    }
  });

  test('discard-zero-changes never gives up a side that changed anything', () => {
    for (const { self, peer } of CASES) {
      const side = givenUp('discard-zero-changes', self, peer);
      if (side === null) expect([self, peer].every(({ changedBytes }) => changedBytes > 0)).toBe(true);
      else expect((side === 'self' ? self : peer).changedBytes).toBe(0);
    }
  });

  test.each<[SplitBrainPolicy, Partial<SplitSide>, Partial<SplitSide>, string | null]>([
    ['discard-least-changes', { changedBytes: 1 }, { changedBytes: 2 }, 'self'],
    ['discard-least-changes', { changedBytes: 2 }, { changedBytes: 1 }, 'peer'],
    ['discard-least-changes', { changedBytes: 2 }, { changedBytes: 2 }, null],
    ['discard-least-changes', { changedBytes: 0 }, { changedBytes: 0 }, 'peer'],
    ['discard-younger', { wasStartedAlone: true }, {}, 'self'],
    ['discard-younger', {}, { wasStartedAlone: true }, 'peer'],
    ['discard-younger', { wasStartedAlone: true }, { wasStartedAlone: true }, null],
    ['discard-younger', {}, {}, null],
    ['discard-older', { wasStartedAlone: true }, {}, 'peer'],
    ['discard-older', {}, { wasStartedAlone: true }, 'self'],
    ['discard-older', { wasStartedAlone: true }, { wasStartedAlone: true }, null],
    ['discard-older', {}, {}, null],
  ])('%s, self %o, peer %o: %s', (policy, self, peer, side) => {
    expect(loser(policy, self, peer)).toBe(side);
  });
});
