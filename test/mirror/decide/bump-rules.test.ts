import { describe, expect, test } from 'vitest';
import {
  BUMP_RULES,
  applyBump,
  bumpFor,
  bumpIds,
  causeOfFailure,
  type BumpCause,
  type FailedRequest,
} from '../../../src/mirror/decide/bump-rules.js';
import type { ErrnoName } from '../../../src/protocol/errno.js';
import { ProtocolError } from '../../../src/protocol/errors.js';
import { aLabel, kernelSet } from '../../support/labels.js';

const SITUATIONS = [true, false].flatMap((disconnectOnFailure) =>
  [1, 2, 3].map((activeCount) => ({ disconnectOnFailure, activeCount })),
);

describe('the table of bumps', () => {
  test('has each cause once', () => {
    const causes = BUMP_RULES.map(({ cause }) => cause);
    expect(new Set(causes).size).toBe(causes.length);
    expect(causes).toHaveLength(17);
  });

  test('spares the last ACTIVE component, and everyone while disconnect_on_failure is off', () => {
    const conditional = BUMP_RULES.filter(({ when }) => when === 'may be missed').map(({ cause }) => cause);
    for (const cause of conditional) {
      for (const situation of SITUATIONS) {
        const { bump, isDisconnected } = bumpFor(cause, situation);
        const mayBeMissed = situation.disconnectOnFailure && situation.activeCount > 1;
        expect([bump !== null, isDisconnected], cause).toEqual([mayBeMissed, mayBeMissed]);
      }
    }
    expect(conditional).toHaveLength(4);
  });

  test('is the same in every situation for all other causes', () => {
    for (const { cause, bump, when, disconnects } of BUMP_RULES) {
      if (when !== 'always') continue;
      for (const situation of SITUATIONS) {
        expect(bumpFor(cause, situation), cause).toEqual({ bump, isDisconnected: disconnects === 'always' });
      }
    }
  });
});

describe('a failed request', () => {
  const situation = { disconnectOnFailure: true, activeCount: 2 };
  const OPS = ['read', 'write', 'trim', 'flush'] as const;
  const ERRNOS: readonly ErrnoName[] = ['EIO', 'ENXIO', 'EOPNOTSUPP', 'ENOSPC'];

  /** FreeBSD's own tests, the conf and error tests of the mirror: genids or syncids differ by one afterwards. */
  test.each<[FailedRequest, string | null]>([
    [{ from: 'user', op: 'read', errno: 'EIO' }, 'GENID'],
    [{ from: 'user', op: 'read', errno: 'ENXIO' }, 'SYNCID'],
    [{ from: 'user', op: 'write', errno: 'EIO' }, 'GENID'],
    [{ from: 'user', op: 'write', errno: 'ENXIO' }, 'SYNCID_NOW'],
    [{ from: 'user', op: 'trim', errno: 'ENXIO' }, 'SYNCID_NOW'],
    [{ from: 'user', op: 'flush', errno: 'ENXIO' }, 'SYNCID_NOW'],
    [{ from: 'user', op: 'flush', errno: 'EIO' }, 'GENID'],
    [{ from: 'user', op: 'flush', errno: 'EOPNOTSUPP' }, null],
    [{ from: 'user', op: 'trim', errno: 'EOPNOTSUPP' }, 'GENID'],
    [{ from: 'synchronization', op: 'write', errno: 'ENXIO' }, 'GENID'],
    [{ from: 'synchronization', op: 'read', errno: 'EIO' }, null],
  ])('%j bumps %s', (failed, bump) => {
    expect(bumpFor(causeOfFailure(failed), situation).bump).toBe(bump);
  });

  test('has a cause with a rule, whatever it was', () => {
    for (const from of ['user', 'synchronization'] as const) {
      for (const op of OPS) {
        for (const errno of ERRNOS) {
          const cause: BumpCause = causeOfFailure({ from, op, errno });
          expect(BUMP_RULES.filter((rule) => rule.cause === cause)).toHaveLength(1);
        }
      }
    }
  });
});

describe('a bump', () => {
  test.each([
    ['SYNCID', { genid: 3, syncid: 8 }],
    ['SYNCID_NOW', { genid: 3, syncid: 8 }],
    ['GENID', { genid: 4, syncid: 7 }],
  ] as const)('of %s reaches ACTIVE and SYNCHRONIZING components only', (bump, ids) => {
    const states = ['ACTIVE', 'SYNCHRONIZING', 'STALE', 'DROPPED'] as const;
    const components = states.map((state) => ({ state, label: aLabel({ genid: 3, syncid: 7 }) }));
    const [active, synchronizing, ...others] = applyBump(components, { genid: 3, syncid: 7 }, bump);
    expect([active?.label, synchronizing?.label]).toMatchObject([ids, ids]);
    expect(others).toEqual(components.slice(2));
  });

  test.each([
    { before: '10', after: '11' },
    { before: '12', after: '13' },
  ])('at the first write without a component is what the real kernel did before point $after', (points) => {
    const idsOf = (point: string): number[][] => kernelSet(point).map(({ genid, syncid }) => [genid, syncid]);
    const labels = kernelSet(points.before);
    const components = labels.map((label, index) => ({
      state: index < 2 ? ('ACTIVE' as const) : ('STALE' as const),
      label,
    }));
    const ids = { genid: labels[0]?.genid ?? -1, syncid: labels[0]?.syncid ?? -1 };
    const bumped = applyBump(components, ids, 'SYNCID').map(({ label }) => [label.genid, label.syncid]);
    expect(bumped).toEqual(idsOf(points.after));
  });

  test('never wraps to zero, which would make the newest component the oldest', () => {
    const last = { genid: 0xffff_ffff, syncid: 0xffff_ffff };
    expect(() => bumpIds(last, 'GENID')).toThrow(ProtocolError);
    expect(() => bumpIds(last, 'SYNCID')).toThrow(/can't grow/);
    expect(bumpIds({ genid: 0, syncid: 0xffff_fffe }, 'SYNCID')).toEqual({ genid: 0, syncid: 0xffff_ffff });
  });
});
