import { describe, expect, test } from 'vitest';
import {
  decideAssembly,
  type AssemblyDecision,
  type PresentComponent,
} from '../../../src/mirror/decide/assembly-decision.js';
import { FREE_SLOT, NO_UUID, SLOT_COUNT, type Superblock } from '../../../src/protocol/superblock.js';

const uuid = (digit: string): string => digit.repeat(32);
const [OLD, MIDDLE, NEW, OTHER] = ['1', '2', '3', '4'].map(uuid) as [string, string, string, string];

interface Case {
  readonly slot: number;
  readonly current?: string;
  readonly history?: readonly string[];
  /** By slot, of two. */
  readonly lostAt?: readonly string[];
  readonly full?: readonly boolean[];
  readonly running?: boolean;
  readonly mixture?: boolean;
  readonly touch?: PresentComponent['touch'];
  readonly inactive?: boolean;
  /** Slots that are free in its table. */
  readonly removed?: readonly number[];
  readonly noFailSync?: boolean;
  readonly doubtful?: boolean;
  readonly syncid?: number;
}

function component(facts: Case): PresentComponent {
  const { slot, current = NEW, history = [MIDDLE], lostAt = [], full = [] } = facts;
  const superblock: Superblock = {
    sequence: 1,
    areaId: Buffer.alloc(8),
    mirrorUuid: uuid('a'),
    componentUuid: uuid(String(slot + 5)),
    name: 'm',
    mediaSizeBytes: 1_048_576,
    sectorSizeBytes: 512,
    regionSizeBytes: 65_536,
    extentSizeBytes: 4_194_304,
    logBlockCount: 16,
    bitmapBlockCount: 1,
    isRunning: facts.running ?? false,
    isInconsistent: facts.mixture ?? false,
    current,
    history,
    slot,
    genid: 0,
    syncid: 1,
    modifiedNs: 0n,
    slots: Array.from({ length: SLOT_COUNT }, (_, index) =>
      index > 1 || facts.removed?.includes(index) === true
        ? FREE_SLOT
        : {
            componentUuid: uuid(String(index + 5)),
            lostAt: lostAt[index] ?? NO_UUID,
            isMarked: (lostAt[index] ?? NO_UUID) !== NO_UUID,
            isFull: full[index] ?? false,
            isInactive: false,
            isUnheard: false,
          },
    ),
  };
  return {
    name: `c${slot}`,
    isLocal: slot === 0,
    priority: slot,
    superblock,
    genid: 0,
    syncid: facts.syncid ?? 1,
    touch: facts.touch ?? null,
    isInactive: facts.inactive ?? false,
    noFailSync: facts.noFailSync ?? false,
    isFlushDoubtful: facts.doubtful ?? false,
  };
}

const decide = (cases: readonly Case[], isDegradedAllowed = false): AssemblyDecision =>
  decideAssembly({ present: cases.map(component), isDegradedAllowed });

/** In short: who is the source, who is in step, who gets what is marked, who everything; or why not. */
function inShort(decision: AssemblyDecision): string {
  if (decision.outcome === 'refuse') return decision.code.replace('ASSEMBLE_', '');
  const words = [`from ${decision.source}`];
  if (decision.active.length > 1) words.push('in step');
  const others = [...decision.behind, ...decision.missing];
  for (const { slot, isFull } of others) words.push(`${slot} ${isFull ? 'full' : 'marked'}`);
  return words.join(', ');
}

/** What the second component may be, against a first one in generation NEW after MIDDLE. */
const OTHERS: Readonly<Record<string, Omit<Case, 'slot'>>> = {
  'in the same generation': {},
  'in the one that it was lost at': { current: OLD, history: [] },
  'in the one before': { current: MIDDLE, history: [] },
  'in a newer one': { current: OTHER, history: [NEW, MIDDLE], lostAt: [NEW] },
  'in one of its own': { current: OTHER, history: [MIDDLE], lostAt: [MIDDLE] },
};
const FIRSTS: Readonly<Record<string, Omit<Case, 'slot'>>> = {
  'misses nobody': {},
  'has lost it': { lostAt: [NO_UUID, OLD] },
  'has yet to copy everything': { lostAt: [NO_UUID, OLD], full: [false, true] },
};

const EXPECTED: Readonly<Record<string, string>> = {
  'misses nobody / in the same generation': 'from 0, in step',
  'misses nobody / in the one that it was lost at': 'SPLIT_BRAIN',
  'misses nobody / in the one before': 'from 0, 1 full',
  'misses nobody / in a newer one': 'from 1, 0 marked',
  'misses nobody / in one of its own': 'SPLIT_BRAIN',
  'has lost it / in the same generation': 'from 0, 1 marked',
  'has lost it / in the one that it was lost at': 'from 0, 1 marked',
  'has lost it / in the one before': 'from 0, 1 full',
  'has lost it / in a newer one': 'from 1, 0 marked',
  'has lost it / in one of its own': 'SPLIT_BRAIN',
  'has yet to copy everything / in the same generation': 'from 0, 1 full',
  'has yet to copy everything / in the one that it was lost at': 'from 0, 1 full',
  'has yet to copy everything / in the one before': 'from 0, 1 full',
  'has yet to copy everything / in a newer one': 'from 1, 0 marked',
  'has yet to copy everything / in one of its own': 'SPLIT_BRAIN',
};

const COMBINATIONS = Object.keys(FIRSTS).flatMap((first) =>
  Object.keys(OTHERS).flatMap((other) =>
    [false, true].flatMap((crashed) => [false, true].map((mixture) => ({ first, other, crashed, mixture }))),
  ),
);

/** After a crash nobody is in step; a mixture is no source, and may be of any generation. */
function expectedOf({ first, other, crashed, mixture }: (typeof COMBINATIONS)[number]): string {
  const key = `${first} / ${other}`;
  if (!mixture) {
    const expected = EXPECTED[key] ?? '';
    if (!crashed) return expected;
    return expected.replace('in step', '1 marked');
  }
  if (other === 'in a newer one') return 'NO_SOURCE';
  if (first === 'has yet to copy everything') return 'from 0, 1 full';
  if (first === 'misses nobody') return 'from 0, 1 full';
  const isCovered = other === 'in the same generation' || other === 'in the one that it was lost at';
  return isCovered ? 'from 0, 1 marked' : 'from 0, 1 full';
}

describe('a start of two components', () => {
  test.each(COMBINATIONS)(
    'the first $first, the second is $other, crashed $crashed, a mixture $mixture',
    (combination) => {
      const one = { slot: 0, ...FIRSTS[combination.first], running: combination.crashed };
      const two = {
        slot: 1,
        ...OTHERS[combination.other],
        running: combination.crashed,
        mixture: combination.mixture,
      };
      expect(inShort(decide([one, two]))).toBe(expectedOf(combination));
      // The order in which they are named changes nothing.
      expect(inShort(decide([two, one]))).toBe(expectedOf(combination));
    },
  );

  test.each([
    [
      'the kernel ran the second alone',
      [{ slot: 0 }, { slot: 1, touch: 'label', syncid: 2 }],
      'from 1, 0 full',
    ],
    [
      'the kernel ran both, and crashed',
      [
        { slot: 0, touch: 'label' },
        { slot: 1, touch: 'label' },
      ],
      'from 0, 1 full',
    ],
    [
      'the kernel ran each of them alone',
      [
        { slot: 0, touch: 'label', syncid: 2 },
        { slot: 1, touch: 'label', syncid: 2 },
      ],
      'SPLIT_BRAIN',
    ],
    [
      'the kernel ran both, and lost the first',
      [
        { slot: 0, touch: 'label', syncid: 2 },
        { slot: 1, touch: 'label', syncid: 3 },
      ],
      'from 1, 0 full',
    ],
    [
      'the kernel ran the second while we ran the first',
      [
        { slot: 0, lostAt: [NO_UUID, OLD] },
        { slot: 1, current: OLD, history: [], touch: 'label', syncid: 2 },
      ],
      'SPLIT_BRAIN',
    ],
    ['someone wrote to the second image', [{ slot: 0 }, { slot: 1, touch: 'image' }], 'SPLIT_BRAIN'],
    [
      'both are mixtures',
      [
        { slot: 0, mixture: true },
        { slot: 1, mixture: true },
      ],
      'NO_SOURCE',
    ],
    [
      'the second is a mixture that knows of writes the first misses',
      [
        { slot: 0, current: OLD },
        { slot: 1, current: MIDDLE, lostAt: [OLD, MIDDLE], mixture: true },
      ],
      'NO_SOURCE',
    ],
    ['one is missing', [{ slot: 0 }], 'MISSING'],
    ['the second is deactivated', [{ slot: 0 }, { slot: 1, inactive: true }], 'from 0, 1 marked'],
    ['only a deactivated one is there', [{ slot: 1, inactive: true }], 'NO_SOURCE'],
    [
      'the deactivated one knows of writes the first misses',
      [
        { slot: 0, current: MIDDLE, history: [] },
        { slot: 1, inactive: true },
      ],
      'NO_SOURCE',
    ],
    [
      'the deactivated one was used elsewhere',
      [{ slot: 0 }, { slot: 1, inactive: true, touch: 'image' }],
      'from 0, 1 marked',
    ],
    [
      'both were in step in a crash that is not to be cleaned up after',
      [
        { slot: 0, running: true, noFailSync: true },
        { slot: 1, running: true, noFailSync: true },
      ],
      'from 0, in step',
    ],
    [
      'the second was removed before the present generation',
      [
        { slot: 0, removed: [1] },
        { slot: 1, current: MIDDLE, history: [] },
      ],
      'FOREIGN',
    ],
    [
      'the second was removed, and went on alone',
      [
        { slot: 0, removed: [1] },
        { slot: 1, current: OTHER, history: [MIDDLE] },
      ],
      'FOREIGN',
    ],
    [
      'the first was removed, is preferred, and went on alone',
      [
        { slot: 0, current: OTHER, history: [MIDDLE] },
        { slot: 1, removed: [0] },
      ],
      'FOREIGN',
    ],
    [
      'the second came to a mirror whose first component was not told yet',
      [
        { slot: 0, current: MIDDLE, history: [], removed: [1] },
        { slot: 1, current: NEW, history: [MIDDLE], lostAt: [MIDDLE] },
      ],
      'from 1, 0 marked',
    ],
  ] satisfies [string, Case[], string][])('%s: %3$s', (_what, cases, expected) => {
    expect(inShort(decide(cases))).toBe(expected);
  });

  test('a missing component is lost at the present generation, and may come with news', () => {
    expect(decide([{ slot: 0 }], true)).toMatchObject({
      outcome: 'run',
      active: [0],
      missing: [{ slot: 1, isFull: false, isUnheard: true }],
      lostAt: [NO_UUID, NEW, NO_UUID, NO_UUID, NO_UUID, NO_UUID, NO_UUID, NO_UUID],
      beginsGeneration: false,
    });
  });
});

describe('a mixture that a person allows', () => {
  const allow = (...cases: readonly Case[]): AssemblyDecision =>
    decideAssembly({ present: cases.map(component), isDegradedAllowed: true, isMixtureAllowed: true });
  const mixture: Case = { slot: 1, current: OLD, history: [], mixture: true };

  test('is the source alone, and everything is to be copied from it', () => {
    expect(allow(mixture)).toMatchObject({ source: 1, isMixture: true, beginsGeneration: true });
    expect(inShort(allow(mixture))).toBe('from 1, 0 full');
  });

  test.each(Object.entries(OTHERS))('is none beside a whole one that is %s', (_, other) => {
    for (const running of [false, true]) {
      const decision = allow(mixture, { slot: 0, ...other, running });
      if (decision.outcome === 'run') expect(decision).toMatchObject({ source: 0, isMixture: false });
      else expect(decision.code).not.toBe('ASSEMBLE_MISSING');
    }
  });

  test('is none beside another mixture, nor where it is out of use, nor where a person names it as the source', () => {
    expect(inShort(allow(mixture, { slot: 0, mixture: true }))).toBe('NO_SOURCE');
    expect(inShort(allow({ ...mixture, inactive: true }))).toBe('NO_SOURCE');
    const present = [component(mixture)];
    const named = { present, isDegradedAllowed: true, isMixtureAllowed: true, preferredSource: 1 };
    expect(inShort(decideAssembly(named))).toBe('NO_SOURCE');
  });
});
