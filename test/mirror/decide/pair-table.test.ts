import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import {
  GENERATIONS,
  MIXTURES,
  TOUCHES,
  pairFacts,
  type PairFacts,
  type Side,
} from '../../../src/mirror/decide/pair-facts.js';
import {
  PAIR_ROWS,
  decideFacts,
  decidePair,
  exchange,
  fits,
  type PairRow,
} from '../../../src/mirror/decide/pair-table.js';
import { SPLIT_BRAIN_POLICIES } from '../../../src/mirror/decide/split-brain-policy.js';
import { FREE_SLOT, NO_UUID, SLOT_COUNT } from '../../../src/protocol/superblock.js';

const ALL_FACTS: readonly PairFacts[] = GENERATIONS.flatMap((generations) =>
  MIXTURES.flatMap((mixture) =>
    TOUCHES.flatMap((touch) =>
      [false, true].map((isUnclean) => ({ generations, mixture, touch, isUnclean })),
    ),
  ),
);

const inWords = ({ generations, mixture, touch, unclean, source, copy, refusal }: PairRow): string[] => [
  generations === 'any' ? '-' : generations.join(' or '),
  mixture === 'any' ? '-' : mixture,
  touch === 'any' ? '-' : touch.join(' or '),
  unclean === 'any' ? '-' : unclean ? 'yes' : 'no',
  refusal ?? source,
  copy,
];

describe('the table of pairs', () => {
  test('is the one in docs/generations.md', () => {
    const text = readFileSync(new URL('../../../docs/generations.md', import.meta.url), 'utf8');
    const rows = (text.split('## The table')[1] ?? '')
      .split('\n## ')[0]
      ?.split('\n')
      .filter((line) => line.startsWith('| ') && !line.includes('---'))
      .map((line) =>
        line
          .split('|')
          .slice(1, 7)
          .map((cell) => cell.trim()),
      );
    expect(rows?.slice(1)).toEqual(PAIR_ROWS.map(inWords));
  });

  test('is of facts that docs/generations.md explains, and settled by policies that it names', () => {
    const text = readFileSync(new URL('../../../docs/generations.md', import.meta.url), 'utf8');
    const firstCells = (heading: string): (string | undefined)[] =>
      [...(text.split(`## ${heading}`)[1]?.split('\n## ')[0] ?? '').matchAll(/^\| `?([^|`]*?)`? \|/gm)].map(
        ([, cell]) => cell,
      );
    const explained = firstCells('Facts');
    const isExplained = (name: string): boolean =>
      [name, name.replace('peer', 'self'), name.replace('self', 'peer')].some((one) =>
        explained.includes(one),
      );
    expect(GENERATIONS.filter((name) => !isExplained(name))).toEqual([]);
    expect(firstCells('Settling a split brain').slice(2)).toEqual([...SPLIT_BRAIN_POLICIES]);
  });

  test('has the same for both sides, whatever the facts', () => {
    const other = { none: 'none', self: 'peer', peer: 'self', either: 'either', nobody: 'nobody' } as const;
    for (const facts of ALL_FACTS) {
      const { source, copy, refusal } = decideFacts(facts);
      expect(decideFacts(exchange(facts)), JSON.stringify(facts)).toEqual({
        source: other[source],
        copy,
        refusal,
      });
    }
  });

  test('has no row that never decides', () => {
    const deciding = new Set(
      ALL_FACTS.map((facts) => PAIR_ROWS.find((row) => fits(row, facts) || fits(row, exchange(facts)))),
    );
    expect(PAIR_ROWS.filter((row) => !deciding.has(row))).toEqual([]);
  });

  test('never copies from a mixture, and leaves only those alone that are clean and level', () => {
    for (const facts of ALL_FACTS) {
      const { source, copy } = decideFacts(facts);
      const says = JSON.stringify({ facts, source, copy });
      if (['self', 'both'].includes(facts.mixture)) expect(['peer', 'nobody'], says).toContain(source);
      if (source === 'none')
        expect(facts).toEqual({
          generations: 'level',
          mixture: 'neither',
          touch: 'neither',
          isUnclean: false,
        });
      // A bitmap tells nothing of what others wrote.
      if (facts.touch !== 'neither') expect(copy, says).not.toBe('marks');
      // Never from one that went on no further to one that did.
      if (facts.touch === 'neither' && facts.generations.startsWith('peer '))
        expect(source, says).not.toBe('self');
    }
  });

  test('has a source wherever nothing speaks against it, and only there', () => {
    for (const facts of ALL_FACTS) {
      const { source, refusal } = decideFacts(facts);
      const says = JSON.stringify({ facts, source, refusal });
      const [mayOverwritePeer, mayOverwriteSelf] = [mayOverwrite(facts), mayOverwrite(exchange(facts))];
      const allowed = mayOverwritePeer ? (mayOverwriteSelf ? 'either' : 'self') : 'peer';
      if (mayOverwritePeer || mayOverwriteSelf)
        expect(source === 'none' ? 'either' : source, says).toBe(allowed);
      else expect(refusal, says).toBe(isHopeless(facts) ? 'no source' : 'split brain');
    }
  });

  test('copies by marks wherever bitmaps tell what differs, and else everything', () => {
    for (const facts of ALL_FACTS) {
      const { source, copy, refusal } = decideFacts(facts);
      const expected =
        source === 'none' || refusal === 'no source'
          ? 'nothing'
          : doBitmapsTell(facts)
            ? 'marks'
            : 'everything';
      expect(copy, JSON.stringify({ facts, source, refusal })).toBe(expected);
    }
  });
});

// The same table once more, as what speaks against each copy: it and the rows must not be wrong in the same way.

/** Whether nothing is lost for good if self is copied to peer. */
function mayOverwrite({ generations, mixture, touch }: PairFacts): boolean {
  if (mixture === 'self' || mixture === 'both' || touch === 'image changed') return false;
  // Nothing is whole there, unless self misses what the mixture was being copied from.
  if (mixture === 'peer') return !KNOWS_MORE.includes(generations);
  if (generations === 'parted' || generations === 'strangers') return false;
  switch (touch) {
    case 'neither':
      return !generations.startsWith('peer ') && generations !== 'level, self lost';
    case 'kernel ran self':
      return !generations.startsWith('peer ');
    case 'kernel ran both, self newer':
      return true;
    case 'kernel ran both':
      return generations.startsWith('level');
    case 'kernel ran peer':
    case 'kernel ran both, peer newer':
    case 'kernel ran both apart':
      return false;
  }
}

const KNOWS_MORE: readonly PairFacts['generations'][] = [
  'peer went on',
  'peer long ahead',
  'level, self lost',
  'level, both lost',
];

/** Nothing whole is left of the two if one is given up. */
const isHopeless = (facts: PairFacts): boolean => {
  if (facts.mixture === 'both') return true;
  const { generations, mixture, touch } = facts.mixture === 'self' ? exchange(facts) : facts;
  return mixture === 'peer' && touch !== 'image changed' && KNOWS_MORE.includes(generations);
};

/** All that one of the two lacks is in a bitmap that is there and true. */
function doBitmapsTell(facts: PairFacts): boolean {
  const { generations, mixture, touch } = facts.mixture === 'self' ? exchange(facts) : facts;
  if (touch !== 'neither') return false;
  if (mixture === 'peer') return generations === 'self went on' || generations === 'level, peer lost';
  return generations.startsWith('level') || generations.endsWith('went on') || generations === 'parted';
}

const uuid = (digit: string): string => digit.repeat(32);
const [G0, G1, G2, OTHER, THIRD] = ['1', '2', '3', '4', '5'].map(uuid) as [
  string,
  string,
  string,
  string,
  string,
];

interface Facts {
  readonly current: string;
  readonly history?: readonly string[];
  /** The generation at which it lost the other. */
  readonly lost?: string;
  readonly running?: boolean;
  readonly mixture?: boolean;
  readonly touch?: Side['touch'];
  readonly syncid?: number;
}

function side(slot: number, facts: Facts): Side {
  const {
    current,
    history = [],
    lost = NO_UUID,
    running = false,
    mixture = false,
    touch = null,
    syncid = 1,
  } = facts;
  const componentUuid = (of: number): string => uuid(String(of + 6));
  const slots = Array.from({ length: SLOT_COUNT }, (_, index) => ({
    ...FREE_SLOT,
    componentUuid: index < 2 ? componentUuid(index) : NO_UUID,
    lostAt: index === 1 - slot ? lost : NO_UUID,
    isMarked: index === 1 - slot && lost !== NO_UUID,
  }));
  const flags = { isRunning: running, isInconsistent: mixture };
  return {
    superblock: {
      slot,
      componentUuid: componentUuid(slot),
      current,
      history,
      slots,
      ...flags,
      genid: 0,
      syncid: 1,
    },
    genid: 0,
    syncid,
    touch,
  };
}

describe('two superblocks', () => {
  test.each<[string, Facts, Facts, string]>([
    ['that are equal', { current: G1 }, { current: G1 }, 'level'],
    [
      'of which one lost the other and wrote nothing',
      { current: G1, lost: G1 },
      { current: G1 },
      'level, peer lost',
    ],
    [
      'that lost each other and wrote nothing',
      { current: G1, lost: G1 },
      { current: G1, lost: G1 },
      'level, both lost',
    ],
    ['of which one went on', { current: G1, history: [G0], lost: G0 }, { current: G0 }, 'self went on'],
    [
      'of which one went on twice',
      { current: G2, history: [G1, G0], lost: G0 },
      { current: G0 },
      'self went on',
    ],
    [
      'of which one went on, while the other may or may not have heard of the new generation',
      { current: G2, history: [G1, G0], lost: G0 },
      { current: G1, history: [G0] },
      'self went on',
    ],
    [
      'of which one is an old copy',
      { current: G2, history: [G1, G0], lost: G1 },
      { current: G0 },
      'self long ahead',
    ],
    [
      'of which one is an old copy, and nobody was lost',
      { current: G1, history: [G0] },
      { current: G0 },
      'self long ahead',
    ],
    [
      'that both went on',
      { current: G1, history: [G0], lost: G0 },
      { current: OTHER, history: [G0], lost: G0 },
      'parted',
    ],
    [
      'that both went on, one from a generation that the other did not know it had',
      { current: G2, history: [G1, G0], lost: G0 },
      { current: OTHER, history: [G1, G0], lost: G1 },
      'parted',
    ],
    [
      'with a common past and no marks of it',
      { current: G1, history: [G0] },
      { current: OTHER, history: [G0] },
      'strangers',
    ],
    ['without anything in common', { current: G1 }, { current: OTHER, history: [THIRD] }, 'strangers'],
    [
      'that contradict each other',
      { current: G1, history: [OTHER], lost: OTHER },
      { current: OTHER, history: [G1], lost: G1 },
      'strangers',
    ],
    [
      'of which one is a mixture whose source had lost the other later',
      { current: G1, history: [G0], lost: G0 },
      { current: G0, lost: G1, mixture: true },
      'peer went on',
    ],
  ])('%s: %4$s', (_what, self, peer, expected) => {
    const [one, two] = [side(0, self), side(1, peer)];
    expect(pairFacts(one, two).generations).toBe(expected);
    expect(pairFacts(two, one)).toEqual(exchange(pairFacts(one, two)));
  });

  test('are told apart by who crashed only where they are level', () => {
    for (const crashed of [{ running: true }, {}])
      for (const other of [{ running: true }, {}]) {
        const isUnclean = 'running' in crashed || 'running' in other;
        const level = decidePair(side(0, { current: G0, ...crashed }), side(1, { current: G0, ...other }));
        expect(level).toEqual(
          isUnclean
            ? { source: 'either', copy: 'marks', refusal: null }
            : { source: 'none', copy: 'nothing', refusal: null },
        );
        const ahead = decidePair(
          side(0, { current: G1, history: [G0], lost: G0, ...crashed }),
          side(1, { current: G0, ...other }),
        );
        expect(ahead).toEqual({ source: 'self', copy: 'marks', refusal: null });
      }
  });

  test.each<[Side['touch'], Side['touch'], number, number, string]>([
    ['label', null, 2, 1, 'kernel ran self'],
    ['label', 'label', 3, 2, 'kernel ran both, self newer'],
    ['label', 'label', 2, 2, 'kernel ran both apart'],
    ['label', 'label', 1, 1, 'kernel ran both'],
    ['label', 'image', 2, 1, 'image changed'],
  ])('whose touches are %s and %s, with syncids %i and %i: %s', (one, two, syncid, otherSyncid, expected) => {
    const self = side(0, { current: G0, touch: one, syncid });
    const peer = side(1, { current: G0, touch: two, syncid: otherSyncid });
    expect(pairFacts(self, peer).touch).toBe(expected);
    expect(pairFacts(peer, self)).toEqual(exchange(pairFacts(self, peer)));
  });
});
