/**
 * The mirror side by side with qemu's quorum, nbdkit and `ggmirror copy`, as in docs/performance.md. Medians of several
 * rounds; what counts is the ratio.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { runMain } from '../run-main.js';
import { renderTable } from '../table.js';
import { measureLogPrice } from './log-price.js';
import { measureRates, type Row } from './rates.js';
import { measureResync } from './resync.js';

const USAGE = `usage: npm run bench:mirror -- [--seconds N (2)] [--rounds N (5)] [--image-mib N (256)] [--resync-mib N (10240)]
                               [--dir DIRECTORY] [--only TEXT]
  Needs fio, nbdkit and qemu-storage-daemon. A memory file system as DIRECTORY keeps write-back out of the rates.
`;

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      seconds: { type: 'string', default: '2' },
      rounds: { type: 'string', default: '5' },
      'image-mib': { type: 'string', default: '256' },
      'resync-mib': { type: 'string', default: '10240' },
      dir: { type: 'string', default: tmpdir() },
      only: { type: 'string', default: '' },
      help: { type: 'boolean', default: false },
    },
  });
  const [seconds = 0, rounds = 0, imageMiB = 0, resyncMiB = 0] = [
    values.seconds,
    values.rounds,
    values['image-mib'],
    values['resync-mib'],
  ].map(Number);
  if (values.help || !(seconds > 0 && rounds > 0 && imageMiB > 16 && resyncMiB > 16)) {
    process.stdout.write(USAGE);
    return;
  }
  const scratch = mkdtempSync(join(values.dir, 'ggmirror-bench-'));
  const options = { scratch, imageMiB, resyncMiB, seconds, rounds, only: values.only };
  try {
    const rows: Row[] = [];
    for (const part of [measureRates, measureLogPrice, measureResync]) rows.push(...(await part(options)));
    const cells = rows.map((row) => [
      row.name,
      row.ours,
      row.reference,
      row.ratio.toFixed(2),
      String(row.target),
      row.isMet ? 'ok' : 'MISS',
    ]);
    process.stdout.write(`\n${renderTable(['work', 'ours', 'beside', 'ratio', 'target', ''], cells)}\n`);
    save({ startedAt: new Date().toISOString(), node: process.version, options, rows });
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

function save(result: { readonly startedAt: string } & Readonly<Record<string, unknown>>): void {
  const folder = join(import.meta.dirname, '../../../bench/results');
  mkdirSync(folder, { recursive: true });
  const file = join(folder, `mirror-${result.startedAt.replaceAll(':', '-')}.json`);
  writeFileSync(file, `${JSON.stringify(result, null, 2)}\n`);
  process.stdout.write(`\nAll of it: ${file}\n`);
}

await runMain(main);
