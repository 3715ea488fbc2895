import { mkdtempSync, rmSync, writeSync, openSync, closeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { BlockDevice, BlockIo } from '../src/device/block-device.js';
import { openDiskThread } from '../src/device/disk-thread/disk-thread.js';
import { openFile } from '../src/device/file-device.js';
import { openSyncFile } from '../src/device/sync-device.js';
import { renderTable } from './table.js';

/**
 * A page-cached image by three roads: on the event loop (SyncFileDevice), through Node's thread pool (FileDevice) and
 * through a thread of its own (DiskThreadDevice). The roads take turns, and the median turn of each counts, for others may
 * use the machine. Run: npx tsc -p tsconfig.bench.json; node dist-bench/bench/disk-thread.js [TURNS [MILLISECONDS]]
 */
const [TURNS = 9, TURN_MS = 100] = process.argv.slice(2).map(Number);
const IMAGE_BYTES = 67_108_864;

const WORKS = [1, 8, 32]
  .flatMap((depth) =>
    (['read', 'write'] as const).map((op) => ({ op, depth, blockBytes: 4096, isRandom: true })),
  )
  .concat((['read', 'write'] as const).map((op) => ({ op, depth: 8, blockBytes: 131_072, isRandom: false })));
type Work = (typeof WORKS)[number];

interface Outcome {
  readonly perSecond: number;
  readonly cpuUs: number;
}

/** Keeps `depth` requests in flight for a turn. As a server does, it lets the event loop round after each batch. */
function turn(device: BlockDevice, work: Work): Promise<Outcome> {
  const { blockBytes, depth, op, isRandom } = work;
  const blocks = IMAGE_BYTES / blockBytes;
  return new Promise((resolve, reject) => {
    const startMs = performance.now();
    const cpu = process.cpuUsage();
    let doneCount = 0;
    let left = depth;
    let block = 0;
    let isOver = false;
    let starting: BlockIo[] = [];
    const launch = (): void => {
      isOver = performance.now() - startMs >= TURN_MS;
      const batch = starting;
      starting = [];
      for (const io of batch) {
        if (isOver) left -= 1;
        else device.start(io);
      }
      if (left > 0) return;
      const used = process.cpuUsage(cpu);
      const elapsedMs = performance.now() - startMs;
      resolve({ perSecond: (doneCount * 1000) / elapsedMs, cpuUs: (used.user + used.system) / doneCount });
    };
    for (let index = 0; index < depth; index++) {
      const io = {
        op,
        offsetBytes: index * blockBytes,
        lengthBytes: blockBytes,
        buffer: Buffer.alloc(blockBytes + 28, index + 1),
        // Where a payload lies behind a header of the NBD protocol.
        bufferAt: 28,
        done(error: Error | null): void {
          if (error !== null) {
            reject(error);
            return;
          }
          doneCount += 1;
          block = isRandom ? Math.floor(Math.random() * blocks) : (block + 1) % blocks;
          io.offsetBytes = block * blockBytes;
          if (starting.push(io) === 1) setImmediate(launch);
        },
      };
      device.start(io);
    }
  });
}

const nameOf = ({ blockBytes, isRandom, op, depth }: Work): string =>
  `${blockBytes / 1024} KiB ${isRandom ? 'random' : 'sequential'} ${op}, ${depth} deep`;

const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN;

const folder = mkdtempSync(join(tmpdir(), 'ggmirror-bench-'));
try {
  const path = join(folder, 'test.img');
  const fd = openSync(path, 'w');
  for (let at = 0; at < IMAGE_BYTES; at += 1_048_576)
    writeSync(fd, Buffer.alloc(1_048_576, 1), 0, 1_048_576, at);
  closeSync(fd);
  const program = new URL('../../dist/device/disk-thread/thread.js', import.meta.url);
  const devices: readonly BlockDevice[] = [
    await openSyncFile(path, { access: 'rw' }),
    await openFile(path, { access: 'rw' }),
    await openDiskThread(path, { access: 'rw', threadProgram: program }),
  ];
  const rows: string[][] = [];
  for (const work of WORKS) {
    const turns: Outcome[][] = devices.map(() => []);
    for (let count = 0; count < TURNS; count++) {
      for (const [index, device] of devices.entries()) turns[index]?.push(await turn(device, work));
    }
    const rates = turns.map((outcomes) => median(outcomes.map(({ perSecond }) => perSecond)));
    const cpuUs = turns.map((outcomes) => median(outcomes.map((outcome) => outcome.cpuUs)));
    const [, pool = NaN, own = NaN] = rates;
    rows.push([
      nameOf(work),
      ...rates.map((rate, index) => `${Math.round(rate).toLocaleString('en')} (${cpuUs[index]?.toFixed(1)})`),
      (own / pool).toFixed(2),
    ]);
  }
  process.stdout.write('Requests a second, and in parentheses microseconds of processor time each.\n\n');
  process.stdout.write(
    `${renderTable(['work', 'event loop', 'thread pool', 'own thread', 'own : pool'], rows)}\n`,
  );
  for (const device of devices) await device.close();
} finally {
  rmSync(folder, { recursive: true, force: true });
}
