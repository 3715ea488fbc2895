import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import type { BlockDevice, BlockOp } from '../../src/device/block-device.js';
import type { Arrival } from '../../src/mirror/mirror.js';
import { makeRig, lost, type Rig } from '../support/mirror-rig.js';
import { QueueDevice } from '../support/queue-device.js';
import { SeededRandom } from '../support/seeded-random.js';

const MIB = 1_048_576;
const SIZE = 64 * MIB;

/** Disks that serve one request after the other: a fast one, and one with arms. */
const DISKS = [
  { what: 'fast disks', requestMs: 0.1, mebibyteMs: 1, everyMs: 1 },
  { what: 'slow disks', requestMs: 8, mebibyteMs: 10, everyMs: 40 },
];
type Disk = (typeof DISKS)[number];

const WORK = ['read', 'write'] as const;

/** A mirror whose second component has just begun to be copied to, or is in step if `isBehind` is not asked for. */
async function begin(disk: Disk, isBehind: boolean): Promise<Rig> {
  const rig = makeRig({ mediaSizeBytes: SIZE, can: { checksum: false }, options: { timeoutMs: 600_000 } });
  const slow = (arrival: Arrival): Arrival => {
    const data: BlockDevice = new QueueDevice(arrival.media.data, { ...disk, clock: rig.clock });
    return { ...arrival, media: { ...arrival.media, data } };
  };
  for (const { memory } of rig.disks) memory.data.fill(7);
  // Both disks are slow ones: each is lost, and comes back as such.
  for (const slot of [1, 0]) {
    rig.mirror.drop(rig.component(slot), lost(`disk${slot}`));
    await rig.settle();
    await rig.mirror.arrive(rig.component(slot), slow(rig.arrival(slot)));
    await advance(rig, 2_000);
    expect(rig.component(slot).state).toBe('ACTIVE');
  }
  if (!isBehind) return rig;
  rig.mirror.drop(rig.component(1), lost('disk1'));
  await rig.settle();
  rig.component(1).missing.markAll();
  await rig.mirror.arrive(rig.component(1), slow(rig.arrival(1)));
  return rig;
}

async function advance(rig: Rig, ms: number, stepMs = 0.5): Promise<void> {
  for (let passed = 0; passed < ms; passed += stepMs) {
    rig.clock.advance(stepMs);
    await nextTurn();
  }
}

/** The latency that 99 of 100 requests keep below, of one caller that sends one every now and then. */
async function p99(rig: Rig, op: BlockOp, { everyMs }: Disk, count: number): Promise<number> {
  const random = new SeededRandom(1);
  const latencies: number[] = [];
  for (let index = 0; index < count; index++) {
    const startedMs = rig.clock.nowMs();
    const offsetBytes = 4096 * random.below(SIZE / 4096);
    const buffer = Buffer.alloc(4096, 7);
    const done = (): void => void latencies.push(rig.clock.nowMs() - startedMs);
    rig.mirror.start({ op, offsetBytes, lengthBytes: 4096, buffer, bufferAt: 0, done });
    await advance(rig, everyMs, everyMs / 20);
  }
  // Not long enough for the resync to think that callers are quiet.
  await advance(rig, 100);
  expect(latencies).toHaveLength(count);
  latencies.sort((one, other) => one - other);
  return latencies[Math.floor(count * 0.99)] ?? 0;
}

describe.each(DISKS)('a resync on $what', (disk) => {
  test.each(WORK)('leaves a caller’s %s at less than three times what it takes without', async (op) => {
    const alone = await p99(await begin(disk, false), op, disk, 300);
    const rig = await begin(disk, true);
    const beside = await p99(rig, op, disk, 300);
    expect(rig.component(1).state).toBe('SYNCHRONIZING');
    expect(rig.mirror.resyncOf(rig.component(1))?.doneBytes).toBeGreaterThan(0);
    expect(beside).toBeLessThan(3 * alone);
  });

  test('keeps the disks busy when nobody else does', async () => {
    const rig = await begin(disk, true);
    const startedMs = rig.clock.nowMs();
    const pieceMs = disk.requestMs + disk.mebibyteMs / 4;
    const idealMs = (SIZE / 262_144) * pieceMs;
    while (rig.component(1).state !== 'ACTIVE' && rig.clock.nowMs() - startedMs < 3 * idealMs) {
      await advance(rig, 10);
    }
    expect(rig.component(1).state).toBe('ACTIVE');
    // What it takes above the ideal is the first pieces, the flush, and the grain of this clock.
    expect(rig.clock.nowMs() - startedMs).toBeLessThan(idealMs / 0.7);
  });
});
