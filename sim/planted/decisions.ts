import {
  type CopyAmount,
  PAIR_ROWS,
  type PairRow,
  type PairSource,
} from '../../src/mirror/decide/pair-table.js';
import type { Mistake } from './mistake.js';

/** The rows that this says something of read otherwise. Returns what puts them back. */
function rewrite(isMeant: (row: PairRow) => boolean, source: PairSource, copy: CopyAmount): () => void {
  const rows = PAIR_ROWS.filter(isMeant);
  if (rows.length === 0) throw new Error('the table has no such row');
  const before = rows.map((row) => ({ ...row }));
  for (const row of rows) Object.assign(row, { source, copy, refusal: null });
  return () => rows.forEach((row, index) => Object.assign(row, before[index]));
}

const isOf = ({ generations }: PairRow, one: Exclude<PairRow['generations'], 'any'>[number]): boolean =>
  generations !== 'any' && generations.includes(one);

/** Mistakes in the table that says who is copied to whom (docs/generations.md). */
export const DECISIONS: readonly Mistake[] = [
  {
    name: 'of two that both went on alone one is copied to the other',
    way: { wire: 'queue', split: 'both' },
    plant: () => rewrite((row) => isOf(row, 'parted'), 'self', 'marks'),
  },
  {
    name: 'of two that know nothing of each other one is copied to the other',
    way: { wire: 'queue', split: 'forced' },
    plant: () => rewrite((row) => isOf(row, 'strangers'), 'self', 'everything'),
  },
  {
    name: 'after a crash components of one generation count as in step',
    way: { wire: 'queue', only: ['blackout', 'kill'] },
    plant: () =>
      rewrite((row) => isOf(row, 'level') && row.touch === 'any' && row.unclean === 'any', 'none', 'nothing'),
  },
  {
    name: 'who went on alone is copied to',
    plant: () =>
      rewrite(
        (row) => isOf(row, 'self went on') && row.touch === 'any' && row.mixture === 'any',
        'peer',
        'marks',
      ),
  },
  {
    name: 'half of a copy is the source of the other half',
    plant: () => rewrite((row) => isOf(row, 'self went on') && row.mixture === 'peer', 'peer', 'marks'),
  },
];
