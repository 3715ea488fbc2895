import { formatBytes, formatCount, formatMilliseconds } from '../units.js';
import type { Histogram } from './histogram.js';
import type { Load, LoadMode } from './load.js';

export interface LatencyMs {
  readonly mean: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
}

/** What `bench --json` prints. */
export interface BenchResult {
  readonly uri: string;
  readonly mode: LoadMode;
  readonly blockBytes: number;
  readonly depth: number;
  readonly seconds: number;
  readonly isSequential: boolean;
  readonly ops: number;
  readonly reads: number;
  readonly writes: number;
  readonly flushes: number;
  readonly opsPerSecond: number;
  readonly bytesPerSecond: number;
  readonly latencyMs: LatencyMs;
  readonly flushLatencyMs: LatencyMs | null;
  readonly reconnects: number;
  readonly errors: number;
  readonly firstError: string | null;
  /** Null without verify. */
  readonly checkedBlocks: number | null;
  readonly mismatches: number;
  readonly firstMismatches: readonly string[];
}

export interface BenchSetting {
  readonly uri: string;
  readonly mode: LoadMode;
  readonly block: number;
  readonly depth: number;
  readonly sequential?: boolean;
  readonly verify?: boolean;
  readonly reconnects: number;
}

export function resultOf(load: Load, setting: BenchSetting): BenchResult {
  const { totals } = load;
  const seconds = totals.elapsedMs / 1000;
  const ops = totals.reads + totals.writes;
  const opsPerSecond = seconds > 0 ? ops / seconds : 0;
  return {
    uri: setting.uri,
    mode: setting.mode,
    blockBytes: setting.block,
    depth: setting.depth,
    seconds,
    isSequential: setting.sequential === true,
    ops,
    reads: totals.reads,
    writes: totals.writes,
    flushes: totals.flushes,
    opsPerSecond,
    bytesPerSecond: opsPerSecond * setting.block,
    latencyMs: latencyOf(load.latency),
    flushLatencyMs: load.flushLatency.count === 0 ? null : latencyOf(load.flushLatency),
    reconnects: setting.reconnects,
    errors: totals.errors,
    firstError: totals.firstError?.message ?? null,
    checkedBlocks: setting.verify === true ? totals.checkedBlocks : null,
    mismatches: totals.mismatches,
    firstMismatches: totals.mismatchDetails,
  };
}

function latencyOf(histogram: Histogram): LatencyMs {
  return {
    mean: histogram.meanMs,
    p50: histogram.percentileMs(0.5),
    p90: histogram.percentileMs(0.9),
    p99: histogram.percentileMs(0.99),
    p999: histogram.percentileMs(0.999),
    max: histogram.maxMs,
  };
}

export function linesOf(result: BenchResult): string[] {
  const order = result.isSequential ? 'sequential' : 'random';
  const lines = [
    `${result.uri}: ${order} ${result.mode}, ${formatBytes(result.blockBytes)}, ${result.depth} deep, ` +
      `${result.seconds.toFixed(1)} s`,
    `  ${formatCount(result.ops)} operations (${formatCount(result.reads)} reads, ` +
      `${formatCount(result.writes)} writes), ${result.errors} errors`,
    `  ${formatCount(result.opsPerSecond)} ops/s, ${(result.bytesPerSecond / 1e6).toFixed(1)} MB/s`,
    `  latency  ${formatLatency(result.latencyMs)}`,
  ];
  if (result.flushLatencyMs !== null) {
    lines.push(
      `  ${formatCount(result.flushes)} flushes`,
      `  flushes  ${formatLatency(result.flushLatencyMs)}`,
    );
  }
  if (result.checkedBlocks !== null) {
    lines.push(`  verified ${formatCount(result.checkedBlocks)} blocks, ${result.mismatches} mismatches`);
  }
  if (result.reconnects > 0) lines.push(`  the connection was lost and made anew ${result.reconnects} times`);
  return [...lines, ...result.firstMismatches.map((text) => `  mismatch: ${text}`)];
}

function formatLatency(latency: LatencyMs): string {
  const parts = [
    ['mean', latency.mean],
    ['p50', latency.p50],
    ['p90', latency.p90],
    ['p99', latency.p99],
    ['p99.9', latency.p999],
    ['max', latency.max],
  ] as const;
  return parts.map(([name, ms]) => `${name} ${formatMilliseconds(ms)}`).join('  ');
}
