/**
 * Our NBD server beside nbdkit's file plugin, both over one page-cached image on Unix sockets, with fio as the load. Each
 * round measures all of them in turn; medians and their ratio count.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { FIO_WORKS, runFio } from './fio.js';
import { makeImage } from './image.js';
import { median } from './report.js';
import { runMain } from './run-main.js';
import { renderTable } from './table.js';
import { startTarget, type Target } from './target.js';

const USAGE = `usage: npm run bench:nbd -- [--seconds N (2)] [--rounds N (5)] [--image-mib N (256)] [--dir DIRECTORY]
  Needs fio and nbdkit. A memory file system as DIRECTORY keeps write-back out of the numbers.
`;
async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      seconds: { type: 'string', default: '2' },
      rounds: { type: 'string', default: '5' },
      'image-mib': { type: 'string', default: '256' },
      dir: { type: 'string', default: tmpdir() },
      help: { type: 'boolean', default: false },
    },
  });
  const [seconds, rounds, imageMiB] = [values.seconds, values.rounds, values['image-mib']].map(Number);
  if (values.help || !(Number(seconds) > 0 && Number(rounds) > 0 && Number(imageMiB) > 0)) {
    process.stdout.write(USAGE);
    return;
  }
  const scratch = mkdtempSync(join(values.dir, 'ggmirror-bench-'));
  const targets: Target[] = [];
  try {
    const image = join(scratch, 'image');
    makeImage(image, Number(imageMiB));
    const socketOf = (name: string): string => join(scratch, `${name}.sock`);
    const serve = join(import.meta.dirname, 'nbd-serve.js');
    for (const kind of ['sync', 'pool'] as const) {
      const words = [serve, kind, image, socketOf(kind)];
      const program = process.execPath;
      targets.push(await startTarget({ name: `ours, ${kind}`, program, words, socket: socketOf(kind) }));
    }
    const words = ['-f', '-U', socketOf('nbdkit'), 'file', image];
    const socket = socketOf('nbdkit');
    targets.push(await startTarget({ name: 'nbdkit file', program: 'nbdkit', words, socket }));
    const options = { imageMiB: Number(imageMiB), seconds: Number(seconds), scratch };
    process.stdout.write(`\n${await measure(targets, Number(rounds), options)}\n`);
  } finally {
    await Promise.all(targets.map((target) => target.stop()));
    rmSync(scratch, { recursive: true, force: true });
  }
}

async function measure(
  targets: readonly Target[],
  rounds: number,
  options: { readonly imageMiB: number; readonly seconds: number; readonly scratch: string },
): Promise<string> {
  const heading = ['work', ...targets.map(({ name }) => name), 'sync : nbdkit', 'pool : nbdkit'];
  const rows: string[][] = [];
  for (const work of FIO_WORKS) {
    const rates = targets.map((): number[] => []);
    for (let round = 0; round < rounds; round++) {
      for (let turn = 0; turn < targets.length; turn++) {
        // Another one goes first in every round.
        const index = (turn + round) % targets.length;
        const target = targets[index];
        if (target !== undefined) rates[index]?.push(await runFio(work, { uri: target.uri, ...options }));
      }
    }
    const [sync = 0, pool = 0, nbdkit = 0] = rates.map((each) => median(each) ?? 0);
    const numbers = [sync, pool, nbdkit].map((rate) => Math.round(rate).toLocaleString('en'));
    rows.push([work.name, ...numbers, (sync / nbdkit).toFixed(2), (pool / nbdkit).toFixed(2)]);
    process.stderr.write(`${rows.at(-1)?.join('  ') ?? ''}\n`);
  }
  return renderTable(heading, rows);
}

await runMain(main);
