import { describe, expect, test } from 'vitest';
import { judgeArrival } from '../../../src/mirror/decide/arrival.js';
import {
  GENERATIONS,
  MIXTURES,
  TOUCHES,
  pairFacts,
  type Side,
} from '../../../src/mirror/decide/pair-facts.js';
import { decidePair, exchange, fits, PAIR_ROWS } from '../../../src/mirror/decide/pair-table.js';
import { compareFreshness } from '../../../src/protocol/gmirror-checks.js';
import { FREE_SLOT, NO_UUID, SLOT_COUNT, type Superblock } from '../../../src/protocol/superblock.js';

const uuid = (digit: string): string => digit.repeat(32);
const [OLD, MIDDLE, NEW, OTHER] = ['1', '2', '3', '4'].map(uuid) as [string, string, string, string];
const MIRROR = uuid('a');
const componentUuid = (slot: number): string => uuid(String(slot + 6));

type Whole = Side & { readonly superblock: Superblock };

/** All that two components can say of generations, with histories as they come about: newest first. */
const LINEAGES: readonly (readonly string[])[] = [
  [OLD],
  [MIDDLE, OLD],
  [NEW, MIDDLE, OLD],
  [NEW, OLD],
  [OTHER, OLD],
  [OTHER, MIDDLE, OLD],
  [OTHER],
];

function sides(slot: number): Whole[] {
  return LINEAGES.flatMap(([current = OLD, ...history]) =>
    [NO_UUID, current, ...history].flatMap((lostAt) =>
      [false, true].flatMap((isRunning) =>
        [false, true].flatMap((isInconsistent) =>
          ([null, 'label', 'image'] as const).map((touch) =>
            sideOf(slot, { current, history, lostAt, isRunning, isInconsistent, touch }),
          ),
        ),
      ),
    ),
  );
}

function sideOf(
  slot: number,
  says: Pick<Superblock, 'current' | 'history' | 'isRunning' | 'isInconsistent'> & {
    readonly lostAt: string;
    readonly touch: Side['touch'];
  },
): Whole {
  const { lostAt, touch, ...generations } = says;
  const slots = Array.from({ length: SLOT_COUNT }, (_, index) =>
    index > 1
      ? FREE_SLOT
      : {
          ...FREE_SLOT,
          componentUuid: componentUuid(index),
          lostAt: index === slot ? NO_UUID : lostAt,
          isMarked: index !== slot && lostAt !== NO_UUID,
        },
  );
  const superblock: Superblock = {
    ...{ sequence: 1, areaId: Buffer.alloc(8), mirrorUuid: MIRROR, componentUuid: componentUuid(slot) },
    ...{ name: 'm', mediaSizeBytes: 1_048_576, sectorSizeBytes: 512, regionSizeBytes: 65_536 },
    ...{ extentSizeBytes: 4_194_304, logBlockCount: 16, bitmapBlockCount: 1 },
    ...{ slot, genid: 0, syncid: 1, modifiedNs: 0n, slots },
    ...generations,
  };
  return { superblock, touch, genid: 0, syncid: touch === 'label' ? 2 : 1 };
}

const PAIRS = sides(0).flatMap((self) => sides(1).map((peer) => ({ self, peer })));

/** Whether the data of a component is of a generation that the other one has, had, or knows to be lost. */
const isKnown = (of: Whole, by: Whole): boolean => {
  const { current, history, slots } = by.superblock;
  return [current, ...history, slots[of.superblock.slot]?.lostAt].includes(of.superblock.current);
};

const inShort = ({ superblock, touch }: Whole): string => {
  const { current, history, slots, slot, isRunning, isInconsistent } = superblock;
  const lostAt = slots[1 - slot]?.lostAt ?? '';
  const first = (text: string): string => text.slice(0, 1);
  const flags = [isRunning ? 'running' : '', isInconsistent ? 'mixture' : '', touch ?? ''].join(' ');
  return `${[current, ...history].map(first).join('')} lost ${first(lostAt)} ${flags}`;
};

/** Why this copy must not be; null if it may. */
function objection(from: Whole, to: Whole): string | null {
  if (from.superblock.isInconsistent) return 'from a mixture';
  if (to.superblock.isInconsistent) return null;
  // What the kernel wrote is in nobody's generation; there the label's numbers decide.
  if (from.touch !== null) return null;
  if (to.touch !== null) return 'over what somebody else wrote';
  return isKnown(to, from) ? null : 'over an unknown generation';
}

test('nobody is copied over whose generation the source does not know, unless it is a mixture', () => {
  const wrong: string[] = [];
  let copies = 0;
  for (const { self, peer } of PAIRS) {
    const { source } = decidePair(self, peer);
    const ways: (readonly [Whole, Whole])[] = [];
    if (source === 'self' || source === 'either') ways.push([self, peer]);
    if (source === 'peer' || source === 'either') ways.push([peer, self]);
    copies += ways.length;
    for (const [from, to] of ways) {
      const why = objection(from, to);
      if (why !== null) wrong.push(`${why}: ${inShort(from)} -> ${inShort(to)}`);
    }
  }
  expect(wrong).toEqual([]);
  expect(copies).toBeGreaterThan(1000);
});

test('a component comes to a running mirror as the table has it, and never over something newer', () => {
  const seen = new Set<string>();
  for (const { self, peer } of PAIRS) {
    // A running mirror is in step, and has noted that the other one is lost.
    const { isInconsistent, isRunning, slots } = self.superblock;
    if (isInconsistent || isRunning || self.touch !== null || slots[1]?.lostAt === NO_UUID) continue;
    const facts = {
      mirrorUuid: MIRROR,
      componentUuid: componentUuid(1),
      mediaSizeBytes: peer.superblock.mediaSizeBytes,
      mirror: self,
      isFull: false,
    };
    const { source, refusal } = decidePair(self, peer);
    const { outcome } = judgeArrival(peer, facts);
    const isAhead = refusal === 'no source' || source === 'peer';
    const expected = refusal === 'split brain' ? refusal : isAhead ? 'newer' : 'accept';
    seen.add(
      outcome === expected ? outcome : `${outcome}, not ${expected}: ${inShort(self)}, ${inShort(peer)}`,
    );
  }
  expect([...seen].sort()).toEqual(['accept', 'newer', 'split brain']);
});

describe('the pairs of components', () => {
  /** As PAIRS, without what crashed, and with all that the kernel may have left in labels. */
  const TOUCHED: readonly Pick<Side, 'touch' | 'genid' | 'syncid'>[] = [
    { touch: null, genid: 0, syncid: 1 },
    { touch: 'label', genid: 0, syncid: 1 },
    { touch: 'label', genid: 0, syncid: 2 },
    { touch: 'label', genid: 1, syncid: 1 },
    { touch: 'image', genid: 0, syncid: 1 },
  ];
  const touched = (slot: number): Whole[] =>
    sides(slot)
      .filter(({ superblock, touch }) => touch === null && !superblock.isRunning)
      .flatMap((side) => TOUCHED.map((one) => ({ ...side, ...one })));

  test('meet as everything that the table knows of', () => {
    const met = { generations: new Set<string>(), mixture: new Set<string>(), touch: new Set<string>() };
    const rows = new Set<unknown>();
    const [selves, peers] = [touched(0), touched(1)];
    for (const self of selves) {
      for (const peer of peers) {
        const facts = pairFacts(self, peer);
        met.generations.add(facts.generations);
        met.mixture.add(facts.mixture);
        met.touch.add(facts.touch);
        rows.add(PAIR_ROWS.find((row) => fits(row, facts) || fits(row, exchange(facts))));
      }
    }
    expect([...met.generations].sort()).toEqual([...GENERATIONS].sort());
    expect([...met.mixture].sort()).toEqual([...MIXTURES].sort());
    expect([...met.touch].sort()).toEqual([...TOUCHES].sort());
    expect(PAIR_ROWS.filter((row) => !rows.has(row))).toEqual([]);
  });

  test('never lead to a copy from a mixture, or from a component that the kernel left behind', () => {
    const wrong: string[] = [];
    const [selves, peers] = [touched(0), touched(1)];
    const judge = (from: Whole, to: Whole): void => {
      const isOlder = from.touch === 'label' && to.touch === 'label' && compareFreshness(from, to) < 0;
      const isBehind = isOlder || (from.touch === null && to.touch !== null);
      if (from.superblock.isInconsistent || (isBehind && !to.superblock.isInconsistent))
        wrong.push(`${inShort(from)} -> ${inShort(to)}`);
    };
    for (const self of selves) {
      for (const peer of peers) {
        const { source } = decidePair(self, peer);
        if (source === 'self' || source === 'either') judge(self, peer);
        if (source === 'peer' || source === 'either') judge(peer, self);
      }
    }
    expect(wrong).toEqual([]);
  });
});
