/** What a resync costs in time, and what it costs the mirror's users meanwhile. */
import { setTimeout as sleep } from 'node:timers/promises';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ComponentStatus } from '../../src/control/status.js';
import { ownCommand, startOurs } from '../processes.js';
import { runLoadProgram } from '../load.js';
import { median } from '../report.js';
import type { Row } from './rates.js';
import { allActive, makeSparse, Rig } from './rig.js';

export interface ResyncOptions {
  readonly scratch: string;
  readonly resyncMiB: number;
  readonly seconds: number;
  readonly rounds: number;
  readonly only: string;
}

const LIMIT_MS = 600_000;
const NAMES = {
  part: 'resync of 1 % of the regions, scattered',
  full: 'full resync',
  latency: 'foreground p99 during a resync',
} as const;

export async function measureResync(options: ResyncOptions): Promise<Row[]> {
  if (!Object.values(NAMES).some((name) => name.includes(options.only))) return [];
  const { resyncMiB: imageMiB } = options;
  const rig = new Rig({
    name: 'mirror',
    folder: join(options.scratch, 'resync'),
    imageMiB,
    parts: ['local', 'backup'],
  });
  try {
    await rig.start();
    // Data everywhere: a resync of holes would be too good to be true.
    await fio(rig, options, ['--rw=write', '--bs=1M', '--iodepth=4', '--size=' + sizeOf(imageMiB)]);
    // A new mirror copies everything to its second component first, and gently while it is written.
    await rig.until(allActive, LIMIT_MS);
    const partial: number[] = [];
    const full: number[] = [];
    const copies: number[] = [];
    for (let round = 0; round < options.rounds; round++) {
      partial.push(await partialMs(rig, options));
      full.push(await fullMs(rig, options));
      copies.push(await copyMs(rig, options));
      const told = [partial, full, copies].map((list) => Math.round(list.at(-1) ?? 0));
      process.stderr.write(
        `resync round ${round + 1}: 1 % ${told[0]} ms, full ${told[1]} ms, copy ${told[2]} ms\n`,
      );
    }
    return [
      ...timeRows(median(partial) ?? 0, median(full) ?? 0, median(copies) ?? 0),
      await latencyRow(rig, options),
    ];
  } finally {
    await rig.stop();
  }
}

function timeRows(partial: number, full: number, copy: number): Row[] {
  const seconds = (ms: number): string => `${(ms / 1000).toFixed(2)} s`;
  const row = (name: string, ours: number, what: string, other: number, target: number): Row => ({
    name,
    ours: seconds(ours),
    reference: `${what} (${seconds(other)})`,
    ratio: other / ours,
    target,
    isMet: other / ours >= target,
  });
  return [
    row(NAMES.part, partial, 'full resync', full, 20),
    row(NAMES.full, full, 'ggmirror copy', copy, 0.7),
  ];
}

/** More than it takes a mirror without writes to flush everything and empty its log. */
const IDLE_MS = 8_000;

const sizeOf = (imageMiB: number): string => `${imageMiB - 32}M`;

/** The backup is away while one region in a hundred is written; then it comes back. */
async function partialMs(rig: Rig, options: ResyncOptions): Promise<number> {
  // What the backup has not flushed when it goes is suspect, and would be compared, too: an idle mirror flushes by itself.
  await sleep(IDLE_MS);
  await rig.stopBackup();
  const writes = Math.round((options.resyncMiB * 16) / 100);
  const words = ['--rw=randwrite', '--bs=4k', '--iodepth=32'];
  await fio(rig, options, [...words, '--size=' + sizeOf(options.resyncMiB), `--number_ios=${writes}`]);
  await rig.startBackup();
  await rig.until(isSynchronizing, LIMIT_MS);
  return await rig.until(allActive, LIMIT_MS);
}

/** All of it is written anew while the backup is away, so nothing can be skipped for being equal. */
async function fullMs(rig: Rig, options: ResyncOptions): Promise<number> {
  await writeAllWithoutBackup(rig, options);
  await rig.startBackup();
  await rig.until(isSynchronizing, LIMIT_MS);
  return await rig.until(allActive, LIMIT_MS);
}

async function writeAllWithoutBackup(rig: Rig, options: ResyncOptions): Promise<void> {
  await rig.stopBackup();
  const words = ['--rw=write', '--bs=1M', '--iodepth=4', '--refill_buffers'];
  await fio(rig, options, [...words, `--size=${sizeOf(options.resyncMiB)}`]);
}

const isSynchronizing = (components: readonly ComponentStatus[]): boolean =>
  components.some(({ state }) => state === 'SYNCHRONIZING');

/** The same data to the same kind of server: a plain copy of the local image over an export that holds something. */
async function copyMs(rig: Rig, { scratch, resyncMiB }: ResyncOptions): Promise<number> {
  const target = join(scratch, 'copy.img');
  if (!existsSync(target)) makeSparse(target, resyncMiB);
  const server = await startOurs([target], [], scratch);
  try {
    const startMs = performance.now();
    const uri = `ggate://127.0.0.1:${server.port}${target}`;
    const [program, words] = ownCommand(['copy', '--force', rig.local, uri]);
    await runLoadProgram(program, words);
    return performance.now() - startMs;
  } finally {
    await server.stop();
  }
}

/** Small random writes and reads at a rate that leaves room, without a resync and while one runs. */
async function latencyRow(rig: Rig, options: ResyncOptions): Promise<Row> {
  const alone: number[] = [];
  const during: number[] = [];
  for (let round = 0; round < options.rounds; round++) {
    alone.push(await p99Us(rig, options));
    await writeAllWithoutBackup(rig, options);
    await rig.startBackup();
    await rig.until(isSynchronizing, LIMIT_MS);
    during.push(await p99Us(rig, options));
    if (!isSynchronizing(await rig.components()))
      throw new Error('the resync was over before the measurement; give a larger --resync-mib');
    await rig.until(allActive, LIMIT_MS);
    process.stderr.write(
      `p99 round ${round + 1}: ${Math.round(alone.at(-1) ?? 0)} us alone, ${Math.round(during.at(-1) ?? 0)} us during\n`,
    );
  }
  const [before, meanwhile] = [median(alone) ?? 0, median(during) ?? 0];
  return {
    name: NAMES.latency,
    ours: `${Math.round(meanwhile)} us`,
    reference: `without one (${Math.round(before)} us)`,
    ratio: meanwhile / before,
    target: 3,
    isMet: meanwhile / before < 3,
  };
}

async function p99Us(rig: Rig, options: ResyncOptions): Promise<number> {
  const words = ['--rw=randrw', '--bs=4k', '--iodepth=4', '--time_based', '--rate_iops=1000,1000'];
  const text = await fio(rig, options, [
    ...words,
    `--runtime=${options.seconds}`,
    `--size=${sizeOf(options.resyncMiB)}`,
  ]);
  type Latency = { readonly clat_ns: { readonly percentile: Readonly<Record<string, number>> } };
  const { jobs } = JSON.parse(text) as {
    readonly jobs: readonly { readonly read: Latency; readonly write: Latency }[];
  };
  const [job] = jobs;
  const worst = Math.max(
    ...[job?.read, job?.write].map((one) => one?.clat_ns.percentile['99.000000'] ?? NaN),
  );
  if (Number.isNaN(worst)) throw new Error('fio told no latency');
  return worst / 1000;
}

/** What fio tells, as JSON. */
async function fio(rig: Rig, { scratch }: ResyncOptions, words: readonly string[]): Promise<string> {
  const result = join(scratch, 'fio.json');
  await runLoadProgram('fio', [
    ...['--name=bench', '--ioengine=nbd', `--uri=${rig.uri}`, '--randrepeat=0', '--norandommap'],
    ...[...words, '--output-format=json', `--output=${result}`],
  ]);
  const text = readFileSync(result, 'utf8');
  return text.slice(text.indexOf('{'));
}
