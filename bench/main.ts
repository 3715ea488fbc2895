/**
 * The table of docs/performance.md: our server, the ceiling and the real ggated side by side in one run. Each round
 * measures each of them in turn, so that whatever else the machine does meets all of them.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { arch, cpus, platform, release } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { messageOf } from '../src/protocol/errors.js';
import { makeImage } from './image.js';
import { run, runLoad, type LoadName } from './load.js';
import { largerOf, memoryOf, type Memory } from './memory.js';
import { USAGE, readOptions, type BenchOptions } from './options.js';
import { startCeiling, startGgated, startOurs, type Server, type ServerName } from './processes.js';
import { renderResult, summarize, type BenchResult, type RowResult } from './report.js';
import { runMain } from './run-main.js';
import { WORKS, type Work } from './work.js';

/** The processes of sessions that have ended are given this long to go before memory is looked at. */
const SETTLE_MS = 2_000;
const CLIENTS_MAX = Math.max(...WORKS.map((work) => work.clients));

interface Bench {
  readonly options: BenchOptions;
  readonly load: { readonly name: LoadName; readonly program: string | null };
  readonly images: readonly string[];
  readonly servers: readonly Server[];
  readonly memoryDuring: Map<ServerName, Memory | null>;
  readonly failures: string[];
}

type MutableRow = {
  readonly work: Work;
  readonly servers: Record<ServerName, number[]>;
  readonly ownClient: number[];
  readonly failed: (ServerName | 'our client')[];
};

async function main(): Promise<void> {
  const options = readOptions(process.argv.slice(2), process.env);
  if (options === null) {
    process.stdout.write(USAGE);
    return;
  }
  const scratch = mkdtempSync(join(options.directory, 'ggmirror-bench-'));
  const servers: Server[] = [];
  const cleanUp = async (): Promise<void> => {
    await Promise.all(servers.map((server) => server.stop()));
    rmSync(scratch, { recursive: true, force: true });
  };
  process.once('SIGINT', () => {
    const leave = (): never => process.exit(130);
    cleanUp().then(leave, leave);
  });
  try {
    const images = makeImages(scratch, options.imageMiB);
    const ggload = await programOf(options.ggload, 'ggload', scratch);
    await startServers(options, images, scratch, servers);
    const load = { name: ggload === null ? 'ggmirror bench' : 'ggload', program: ggload } as const;
    await measure({ options, load, images, servers, memoryDuring: new Map(), failures: [] });
  } finally {
    await cleanUp();
  }
}

async function startServers(
  options: BenchOptions,
  images: readonly string[],
  scratch: string,
  into: Server[],
): Promise<void> {
  into.push(await startOurs(images, options.serveArguments, scratch));
  const ceiling = await programOf(options.ggceiling, 'ggceiling', scratch);
  const [firstImage] = images;
  if (ceiling !== null && firstImage !== undefined)
    into.push(await startCeiling(ceiling, firstImage, scratch));
  if (options.ggated !== null) into.push(await startGgated(options.ggated, images, scratch));
}

async function measure(bench: Bench): Promise<void> {
  const { options, servers } = bench;
  const startedAt = new Date().toISOString();
  const rows = WORKS.filter((work) => work.name.includes(options.only)).map((work): MutableRow => ({
    work,
    servers: { ours: [], ceiling: [], ggated: [] },
    ownClient: [],
    failed: [],
  }));
  for (let round = 0; round < options.rounds; round++) {
    for (const row of rows) await measureRow(bench, row, round);
  }
  await delay(SETTLE_MS);
  const result: BenchResult = {
    startedAt,
    machine: {
      cpu: cpus()[0]?.model ?? '?',
      cpus: cpus().length,
      system: systemName(),
      node: process.version,
    },
    load: bench.load.name,
    rows,
    memory: servers
      .filter((server) => server.name !== 'ceiling')
      .map((server) => ({
        server: server.name,
        during: bench.memoryDuring.get(server.name) ?? null,
        after: memoryOf(server.pid),
      })),
    failures: bench.failures,
  };
  const file = save(options, result);
  process.stdout.write(`\n${renderResult(result)}\n\nAll rates: ${file}\n`);
  if (bench.failures.length > 0) process.exitCode = 1;
}

async function measureRow(bench: Bench, row: MutableRow, round: number): Promise<void> {
  const { options, load } = bench;
  const servers = bench.servers.filter((server) => server.name !== 'ceiling' || row.work.clients === 1);
  const said: string[] = [];
  for (let turn = 0; turn < servers.length; turn++) {
    // Another one goes first in every round: what runs before leaves its dirty pages to what runs after.
    const server = servers[(turn + round) % servers.length];
    if (server === undefined) continue;
    const looking = lookAtMemory(bench, row.work, server);
    const rate = await attempt(bench, load, row.work, server);
    await looking;
    said.push(`${server.name} ${rate === null ? 'FAILED' : Math.round(rate)}`);
    if (rate === null) row.failed.push(server.name);
    else row.servers[server.name].push(rate);
    if (server.name !== 'ours' || row.work.clientTarget === null || load.program === null) continue;
    const own = await attempt(bench, { name: 'ggmirror bench', program: null }, row.work, server);
    said.push(`our client ${own === null ? 'FAILED' : Math.round(own)}`);
    if (own === null) row.failed.push('our client');
    else row.ownClient.push(own);
  }
  process.stderr.write(`round ${round + 1}/${options.rounds}  ${row.work.name}: ${said.join(', ')}\n`);
}

/** Null for a measurement that failed: the others are still worth having, and the report tells. */
async function attempt(
  bench: Bench,
  load: Bench['load'],
  work: Work,
  server: Server,
): Promise<number | null> {
  try {
    const rate = await runLoad(load, work, server, bench.images, bench.options.seconds);
    return rate.operationsPerSecond;
  } catch (error) {
    const reason = messageOf(error);
    bench.failures.push(`${server.name}, ${work.name}: ${reason.trim()}`);
    return null;
  }
}

async function lookAtMemory(bench: Bench, work: Work, server: Server): Promise<void> {
  if (work.clients < CLIENTS_MAX) return;
  await delay((bench.options.seconds * 1000) / 2);
  const before = bench.memoryDuring.get(server.name) ?? null;
  bench.memoryDuring.set(server.name, largerOf(before, memoryOf(server.pid)));
}

/** A C source is compiled; null stays null. */
async function programOf(path: string | null, name: string, scratch: string): Promise<string | null> {
  if (path?.endsWith('.c') !== true) return path;
  const program = join(scratch, name);
  await run('cc', ['-O2', '-o', program, path]);
  return program;
}

/** Random bytes, since zeros could be holes; each is read once, so that all of it is in the page cache. */
function makeImages(scratch: string, imageMiB: number): string[] {
  return Array.from({ length: CLIENTS_MAX }, (_, index) => {
    const path = join(scratch, `image-${index}`);
    makeImage(path, imageMiB);
    return path;
  });
}

function save(options: BenchOptions, result: BenchResult): string {
  const folder = join(import.meta.dirname, '../../bench/results');
  mkdirSync(folder, { recursive: true });
  const file = join(folder, `${result.startedAt.replaceAll(':', '-')}.json`);
  const rows: readonly RowResult[] = result.rows;
  const content = { ...result, rows, summary: summarize(result), options };
  writeFileSync(file, `${JSON.stringify(content, null, 2)}\n`);
  return file;
}

const systemName = (): string => `${platform()} ${release()} ${arch()}`;

await runMain(main);
