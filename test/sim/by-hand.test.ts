import { describe, expect, test } from 'vitest';
import { type Plan, planOf, type WireKind } from '../../sim/plan.js';
import { plantedByHand } from '../../sim/planted/all.js';
import { simulate } from '../../sim/simulation.js';
import type { PlannedStep, Step } from '../../sim/steps.js';

const RANGE = { firstSector: 100, sectorCount: 16 } as const;
/** Its extent is another one, so the log has to be written first. */
const ELSEWHERE = { firstSector: 9000, sectorCount: 16 } as const;
const AGAIN = { host: 0, afterMs: 0, patienceMs: 0 } as const;

const at = (atMs: number, step: Step): PlannedStep => ({ atMs, step });
const io = (
  atMs: number,
  op: 'read' | 'write',
  range: typeof RANGE | typeof ELSEWHERE = RANGE,
): PlannedStep =>
  at(atMs, { kind: 'io', op, firstSector: range.firstSector, sectorCount: range.sectorCount });
const reads = (fromMs: number, everyMs: number): PlannedStep[] =>
  Array.from({ length: 20 }, (_, index) => io(fromMs + index * everyMs, 'read'));

interface ByHand {
  readonly what: string;
  readonly mistake: string;
  readonly wires: readonly WireKind[];
  /** Each is lived, and one must find it. */
  readonly plans: readonly (readonly PlannedStep[])[];
}

const SEEDS = [1, 2, 3, 4];

/** Lives in which so much comes together that no seed can be counted on for it. */
const LIVES: readonly ByHand[] = [
  {
    what: 'a component whose host lost its power while nothing was asked of it is not read from',
    mistake: 'a connection that is lost is noticed when it is used',
    wires: ['sessions'],
    plans: [
      [
        io(1000, 'write'),
        // The client hears of the first end, and comes back after the second one.
        at(1500, { kind: 'server', host: 1 }),
        at(1560, { kind: 'power', host: 1, offMs: 20, restart: AGAIN }),
        ...reads(2500, 10),
      ],
    ],
  },
  {
    what: 'a disk that hangs when only its private area is written hangs nobody for longer than its time-out',
    mistake: 'a disk that hangs with nothing but its private area is waited for',
    wires: ['queue', 'sessions'],
    plans: [0, 1].map((host) => [
      io(1000, 'write'),
      at(10_000, { kind: 'hang', host, forMs: 60_000 }),
      io(10_100, 'write', ELSEWHERE),
      io(90_000, 'read', ELSEWHERE),
    ]),
  },
  {
    what: 'a write fails that the last component left did not take, though one did that was lost meanwhile',
    mistake: 'a write is good though the last component left did not take it',
    wires: ['queue', 'sessions'],
    plans: [
      [
        io(1000, 'write'),
        at(2000, { kind: 'hang', host: 0, forMs: 500 }),
        at(2000, { kind: 'fail', host: 0, op: 'write', count: 1 }),
        io(2010, 'write'),
        at(2200, { kind: 'server', host: 1 }),
        ...reads(2400, 100),
      ],
    ],
  },
  {
    what: 'who comes back to a mirror in use gets the log as it is',
    mistake: 'who comes back gets the log of an idle mirror',
    wires: ['queue', 'sessions'],
    plans: [
      [
        ...Array.from({ length: 80 }, (_, index) => io(1000 + index * 100, 'write')),
        at(2010, { kind: 'cut', host: 0, other: 1, forMs: 300 }),
        ...Array.from({ length: 20 }, (_, index) => at(5050 + index * 200, { kind: 'look' })),
      ],
    ],
  },
];

describe.each(LIVES.flatMap((life) => life.wires.map((wire) => ({ ...life, wire }))))(
  'planned by hand ($wire): $what',
  ({ mistake, wire, plans }) => {
    const problems = async (): Promise<string[]> => {
      const found: string[] = [];
      for (const [seed, steps] of SEEDS.flatMap((one) => plans.map((plan) => [one, plan] as const))) {
        const { settings, ...rest } = planOf(seed, wire);
        const plan: Plan = {
          ...{ ...rest, seed, steps, componentCount: 2 },
          settings: { ...settings, balance: 'round-robin', idleMs: 5000, timeoutMs: 1500 },
        };
        const { failure } = await simulate(plan);
        if (failure !== null) found.push(`life ${seed}: ${failure.message}`);
      }
      return found;
    };

    test('every promise holds', async () => {
      expect(await problems()).toEqual([]);
    });

    test(`it is found when ${mistake}`, async () => {
      const remove = plantedByHand(mistake).plant();
      try {
        expect(await problems()).not.toEqual([]);
      } finally {
        remove();
      }
    });
  },
);
