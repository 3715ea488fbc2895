import { expect, test } from 'vitest';
import { type Plan, planOf } from '../../sim/plan.js';
import { simulate } from '../../sim/simulation.js';

const AT = { firstSector: 9000, sectorCount: 16 } as const;

test.each(['queue', 'sessions'] as const)(
  'a disk that hangs when only its private area is written hangs nobody for longer than its time-out (%s)',
  async (wire) => {
    const { settings, ...rest } = planOf(1, wire);
    for (const host of [0, 1]) {
      const steps: Plan['steps'] = [
        { atMs: 1000, step: { kind: 'io', op: 'write', firstSector: 100, sectorCount: 16 } },
        { atMs: 10_000, step: { kind: 'hang', host, forMs: 60_000 } },
        // Its extent is not in the log, which has to be written first.
        { atMs: 10_100, step: { kind: 'io', op: 'write', ...AT } },
        { atMs: 90_000, step: { kind: 'io', op: 'read', ...AT } },
      ];
      const plan: Plan = {
        ...{ ...rest, steps, componentCount: 2 },
        settings: { ...settings, timeoutMs: 1500, idleMs: 1000 },
      };
      expect((await simulate(plan)).failure).toBeNull();
    }
  },
);
