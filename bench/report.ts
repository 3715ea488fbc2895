import type { Memory } from './memory.js';
import type { ServerName } from './processes.js';
import { renderTable } from './table.js';
import { MEMORY_TARGET_MIB, type Work } from './work.js';

/** All rates of one row in operations a second, in the order of the rounds; empty where nobody was measured. */
export interface RowResult {
  readonly work: Work;
  readonly servers: Readonly<Record<ServerName, readonly number[]>>;
  /** Our client against our server. */
  readonly ownClient: readonly number[];
  /** Who failed in at least one round: a rate that comes about only sometimes meets no target. */
  readonly failed: readonly (ServerName | 'our client')[];
}

export interface MemoryResult {
  readonly server: ServerName;
  readonly during: Memory | null;
  readonly after: Memory | null;
}

export interface BenchResult {
  readonly startedAt: string;
  readonly machine: Readonly<Record<string, string | number>>;
  readonly load: string;
  readonly rows: readonly RowResult[];
  readonly memory: readonly MemoryResult[];
  /** Measurements that came to nothing, one line each. */
  readonly failures: readonly string[];
}

/** Null for nothing measured. */
export function median(values: readonly number[]): number | null {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle];
  const lower = sorted[middle - 1];
  if (upper === undefined) return null;
  return sorted.length % 2 === 1 || lower === undefined ? upper : (lower + upper) / 2;
}

/** What the JSON file holds besides the raw rates, and the tables show. */
export function summarize(result: BenchResult): {
  readonly work: string;
  readonly ours: number | null;
  readonly ggated: Comparison;
  readonly ceiling: Comparison;
  readonly ownClient: Comparison;
}[] {
  return result.rows.map(({ work, servers, ownClient, failed }) => ({
    work: work.name,
    ours: median(servers.ours),
    ggated: compare(servers.ours, servers.ggated, work.targets.ggated, failed.includes('ours')),
    ceiling: compare(servers.ours, servers.ceiling, work.targets.ceiling, failed.includes('ours')),
    // The client is compared with ggload: its rate stands on the other side of the ratio.
    ownClient: {
      ...compare(ownClient, servers.ours, work.clientTarget, failed.includes('our client')),
      median: median(ownClient),
    },
  }));
}

interface Comparison {
  readonly median: number | null;
  readonly ratio: number | null;
  readonly target: number | null;
  readonly isMet: boolean | null;
}

function compare(
  measured: readonly number[],
  reference: readonly number[],
  target: number | null,
  hasFailed: boolean,
): Comparison {
  const mine = median(measured);
  const other = median(reference);
  const ratio = mine === null || other === null ? null : mine / other;
  const isMet = target === null ? null : hasFailed ? false : ratio === null ? null : ratio >= target;
  return { median: other, ratio, target, isMet };
}

export function renderResult(result: BenchResult): string {
  const summary = summarize(result);
  const servers = renderTable(
    ['server', 'ours', 'ggated', 'ratio', 'target', '', 'ceiling', 'of it', 'target', ''],
    summary.map((row) => [
      row.work,
      rate(row.ours),
      rate(row.ggated.median),
      ...comparison(row.ggated),
      rate(row.ceiling.median),
      ...comparison(row.ceiling),
    ]),
  );
  const clients = renderTable(
    ['our client against our server', 'ggmirror bench', result.load, 'ratio', 'target', ''],
    summary
      .filter((row) => row.ownClient.median !== null)
      .map((row) => [row.work, rate(row.ownClient.median), rate(row.ours), ...comparison(row.ownClient)]),
  );
  const memory = renderTable(
    ['memory', 'processes', 'RSS', 'PSS', 'target', ''],
    result.memory.flatMap(({ server, during, after }) => [
      [`${server}, four clients`, ...megabytes(during), '', ''],
      [
        `${server}, after it all`,
        ...megabytes(after),
        ...(server === 'ours' ? memoryTarget(after) : ['', '']),
      ],
    ]),
  );
  const failures = result.failures.map((failure) => `FAILED: ${failure}`);
  return ['Medians, operations a second.', servers, clients, memory, ...failures].join('\n\n');
}

const rate = (value: number | null): string =>
  value === null ? '-' : Math.round(value).toLocaleString('en');

const comparison = ({ ratio, target, isMet }: Comparison): string[] => [
  ratio?.toFixed(2) ?? '-',
  target?.toString() ?? '-',
  verdict(isMet),
];

const verdict = (isMet: boolean | null): string => (isMet === null ? '' : isMet ? 'ok' : 'MISS');

const megabytes = (memory: Memory | null): string[] =>
  memory === null
    ? ['-', '-', '-']
    : [String(memory.processes), `${memory.rssMiB.toFixed(0)} MiB`, `${memory.pssMiB.toFixed(0)} MiB`];

const memoryTarget = (memory: Memory | null): string[] => [
  `${MEMORY_TARGET_MIB} MiB`,
  verdict(memory === null ? null : memory.rssMiB < MEMORY_TARGET_MIB),
];
