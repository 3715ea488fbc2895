import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { runLoadProgram } from './load.js';

/** What fio does to an NBD export of at least `imageMiB`. */
export interface FioWork {
  readonly name: string;
  readonly rw: 'randread' | 'randwrite' | 'read' | 'write';
  readonly blockBytes: number;
  readonly depth: number;
}

const small = { blockBytes: 4096 } as const;
const large = { blockBytes: 131_072, depth: 8 } as const;

/** The loads by which NBD servers are compared, and later the mirror behind one. */
export const FIO_WORKS: readonly FioWork[] = [
  { ...small, name: '4 KiB random read, 32 deep', rw: 'randread', depth: 32 },
  { ...small, name: '4 KiB random write, 32 deep', rw: 'randwrite', depth: 32 },
  { ...small, name: '4 KiB random read, 1 deep', rw: 'randread', depth: 1 },
  { ...small, name: '4 KiB random write, 1 deep', rw: 'randwrite', depth: 1 },
  { ...large, name: '128 KiB sequential read, 8 deep', rw: 'read' },
  { ...large, name: '128 KiB sequential write, 8 deep', rw: 'write' },
];

/** Runs one load with fio's NBD engine. Returns operations a second. */
export async function runFio(
  work: FioWork,
  target: {
    readonly uri: string;
    readonly imageMiB: number;
    readonly seconds: number;
    readonly scratch: string;
  },
): Promise<number> {
  const result = join(target.scratch, 'fio.json');
  await runLoadProgram('fio', [
    ...[
      '--name=bench',
      '--ioengine=nbd',
      `--uri=${target.uri}`,
      `--rw=${work.rw}`,
      `--bs=${work.blockBytes}`,
    ],
    ...[
      `--iodepth=${work.depth}`,
      `--size=${target.imageMiB}M`,
      '--time_based',
      `--runtime=${target.seconds}`,
    ],
    ...['--randrepeat=0', '--output-format=json', `--output=${result}`],
  ]);
  // Notes of fio's own may come before the JSON.
  const text = readFileSync(result, 'utf8');
  const { jobs } = JSON.parse(text.slice(text.indexOf('{'))) as {
    jobs: { read: { iops: number }; write: { iops: number } }[];
  };
  const [job] = jobs;
  if (job === undefined) throw new Error('fio told nothing');
  return work.rw.endsWith('read') ? job.read.iops : job.write.iops;
}
