/**
 * The mirror side by side with qemu's quorum, nbdkit and `ggmirror copy`, as in docs/performance.md. Medians of several
 * rounds; what counts is the ratio.
 */
import { existsSync, mkdirSync, mkdtempSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { runMain } from '../run-main.js';
import { renderTable } from '../table.js';
import { measureLogPrice } from './log-price.js';
import { measureRates, type Row } from './rates.js';
import { measureResync } from './resync.js';

const USAGE = `usage: npm run bench:mirror -- [--seconds N (2)] [--rounds N (5)] [--image-mib N (256)] [--resync-mib N (10240)]
                               [--dir DIRECTORY] [--resync-dir DIRECTORY] [--only TEXT]
  Needs fio, nbdkit and qemu-storage-daemon. --dir is for the images of the rates, a dozen: /dev/shm if it has the room,
  for a memory file system keeps write-back out of them; --resync-dir is on a disk, for three of
  --resync-mib and for the images that are read from the system's cache: its temporary directory.
`;

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      seconds: { type: 'string', default: '2' },
      rounds: { type: 'string', default: '5' },
      'image-mib': { type: 'string', default: '256' },
      'resync-mib': { type: 'string', default: '10240' },
      dir: { type: 'string' },
      'resync-dir': { type: 'string', default: tmpdir() },
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
  const [scratch, resyncScratch] = [values.dir ?? memoryFolder(imageMiB), values['resync-dir']].map(
    (folder) => mkdtempSync(join(folder, 'ggmirror-bench-')),
  ) as [string, string];
  const options = {
    scratch,
    diskScratch: resyncScratch,
    imageMiB,
    resyncMiB,
    seconds,
    rounds,
    only: values.only,
  };
  try {
    const rows: Row[] = [];
    for (const part of [measureRates, measureLogPrice]) rows.push(...(await part(options)));
    rows.push(...(await measureResync({ ...options, scratch: resyncScratch })));
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
    for (const folder of [scratch, resyncScratch]) rmSync(folder, { recursive: true, force: true });
  }
}

/** Where a dozen images stay in memory, if there is such a place. */
function memoryFolder(imageMiB: number): string {
  if (!existsSync('/dev/shm')) return tmpdir();
  const { bavail, bsize } = statfsSync('/dev/shm');
  return bavail * bsize > 16 * imageMiB * 1_048_576 ? '/dev/shm' : tmpdir();
}

function save(result: { readonly startedAt: string } & Readonly<Record<string, unknown>>): void {
  const folder = join(import.meta.dirname, '../../../bench/results');
  mkdirSync(folder, { recursive: true });
  const file = join(folder, `mirror-${result.startedAt.replaceAll(':', '-')}.json`);
  writeFileSync(file, `${JSON.stringify(result, null, 2)}\n`);
  process.stdout.write(`\nAll of it: ${file}\n`);
}

await runMain(main);
