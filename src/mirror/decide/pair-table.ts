import { assert } from '../../protocol/errors.js';
import { NO_UUID } from '../../protocol/superblock.js';
import {
  pairFacts,
  type Generations,
  type Mixture,
  type PairFacts,
  type Side,
  type Touches,
} from './pair-facts.js';

/** How much the one that is copied to gets: see docs/generations.md, "How much is copied". */
export type CopyAmount = 'nothing' | 'marks' | 'everything';

/** Who is copied from: 'none' if they are in step, 'nobody' if that must not be decided here. */
export type PairSource = 'none' | 'self' | 'peer' | 'either' | 'nobody';

export interface PairRow {
  readonly generations: 'any' | readonly Generations[];
  readonly mixture: 'any' | Mixture;
  readonly touch: 'any' | readonly Touches[];
  readonly unclean: 'any' | boolean;
  readonly source: PairSource;
  /** Without a source: what is copied once a person has given one side up. */
  readonly copy: CopyAmount;
  /** Why there is no source; null if there is one. 'no source': giving one side up does not help. */
  readonly refusal: 'split brain' | 'no source' | null;
}

const LEVEL: readonly Generations[] = ['level', 'level, peer lost', 'level, self lost', 'level, both lost'];

/** A row; what it does not name does not matter. */
function row(
  source: PairSource | 'split brain' | 'no source',
  copy: CopyAmount,
  when: {
    readonly generations?: readonly Generations[];
    readonly mixture?: Mixture;
    readonly touch?: readonly Touches[];
    readonly unclean?: boolean;
  },
): PairRow {
  const isRefused = source === 'split brain' || source === 'no source';
  return {
    generations: when.generations ?? 'any',
    mixture: when.mixture ?? 'any',
    touch: when.touch ?? 'any',
    unclean: when.unclean ?? 'any',
    source: isRefused ? 'nobody' : source,
    copy,
    refusal: isRefused ? source : null,
  };
}

/**
 * Who is copied to whom, of two components that meet: the first row that fits decides, and each row holds with both sides
 * exchanged too. The same rows, with their reasons, are docs/generations.md. Source of the generations' part: DRBD's
 * comparison of generation identifiers.
 */
export const PAIR_ROWS: readonly PairRow[] = [
  row('no source', 'nothing', { mixture: 'both' }),
  row('split brain', 'everything', { touch: ['image changed'] }),
  row('no source', 'nothing', {
    generations: ['peer went on', 'peer long ahead', 'level, self lost', 'level, both lost'],
    mixture: 'peer',
  }),
  row('self', 'marks', {
    generations: ['self went on', 'level, peer lost'],
    mixture: 'peer',
    touch: ['neither'],
  }),
  row('self', 'everything', { mixture: 'peer' }),
  row('split brain', 'everything', { touch: ['kernel ran both apart'] }),
  row('self', 'everything', {
    generations: [...LEVEL, 'self went on', 'self long ahead'],
    touch: ['kernel ran self'],
  }),
  row('self', 'everything', {
    generations: [...LEVEL, 'self went on', 'peer went on', 'self long ahead', 'peer long ahead'],
    touch: ['kernel ran both, self newer'],
  }),
  row('either', 'everything', { generations: LEVEL, touch: ['kernel ran both'] }),
  row('split brain', 'everything', {
    touch: [
      'kernel ran self',
      'kernel ran peer',
      'kernel ran both',
      'kernel ran both, self newer',
      'kernel ran both, peer newer',
    ],
  }),
  row('none', 'nothing', { generations: ['level'], unclean: false }),
  row('either', 'marks', { generations: ['level', 'level, both lost'] }),
  row('self', 'marks', { generations: ['level, peer lost', 'self went on'] }),
  row('self', 'everything', { generations: ['self long ahead'] }),
  row('split brain', 'marks', { generations: ['parted'] }),
  row('split brain', 'everything', { generations: ['strangers'] }),
];

export interface PairDecision {
  readonly source: PairSource;
  readonly copy: CopyAmount;
  readonly refusal: PairRow['refusal'];
}

/** What the table says. */
export function decideFacts(facts: PairFacts): PairDecision {
  const exchanged = exchange(facts);
  for (const one of PAIR_ROWS) {
    const { source, copy, refusal } = one;
    if (fits(one, facts)) return { source, copy, refusal };
    if (fits(one, exchanged)) return { source: exchangeText(source), copy, refusal };
  }
  assert(false, `generations: no row for ${JSON.stringify(facts)}`);
}

/** What the table says of two components. */
export function decidePair(self: Side, peer: Side): PairDecision {
  return decideFacts(pairFacts(self, peer));
}

/**
 * Whether the component in `slot` may have been written in a way that `source` has not seen, so that its own log and
 * bitmaps count too. Not if the source saw it go: then the source's bitmap has all that it may lack.
 */
export function mustHear({ superblock: { slots } }: Side, slot: number): boolean {
  const record = slots[slot];
  return record === undefined || record.isUnheard || record.lostAt === NO_UUID;
}

/** Whether `source` knows that its bitmap does not tell what the component in `slot` misses. */
export function needsAll({ superblock: { slots } }: Side, slot: number): boolean {
  const record = slots[slot];
  return record?.isFull === true && record.lostAt !== NO_UUID;
}

export const fits = ({ generations, mixture, touch, unclean }: PairRow, facts: PairFacts): boolean =>
  (generations === 'any' || generations.includes(facts.generations)) &&
  (mixture === 'any' || mixture === facts.mixture) &&
  (touch === 'any' || touch.includes(facts.touch)) &&
  (unclean === 'any' || unclean === facts.isUnclean);

/** The same facts, seen from the other side. */
export const exchange = ({ generations, mixture, touch, isUnclean }: PairFacts): PairFacts => ({
  generations: exchangeText(generations),
  mixture: exchangeText(mixture),
  touch: exchangeText(touch),
  isUnclean,
});

/** All names of facts say 'self' and 'peer' alike. */
const exchangeText = <Text extends string>(text: Text): Text =>
  text.replace(/self|peer/, (side) => (side === 'self' ? 'peer' : 'self')) as Text;
