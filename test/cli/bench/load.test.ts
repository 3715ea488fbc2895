import { describe, expect, test } from 'vitest';
import { Histogram } from '../../../src/cli/bench/histogram.js';
import { Load, type LoadOptions } from '../../../src/cli/bench/load.js';
import { Pattern } from '../../../src/cli/bench/pattern.js';
import { BlockPicker } from '../../../src/cli/bench/picker.js';
import type { BlockDevice, BlockIo } from '../../../src/device/block-device.js';
import type { Clock } from '../../../src/device/clock.js';
import { systemRandom } from '../../../src/device/random.js';
import { FaultDevice } from '../../support/fault-device.js';
import { MemoryDevice } from '../../support/memory-device.js';
import { RecorderDevice } from '../../support/recorder-device.js';

/** A millisecond goes by with each look at it, so a run of n milliseconds has about n requests. */
function countingClock(): Clock {
  let nowMs = 0;
  return { nowMs: () => (nowMs += 1), after: () => ({ cancel: () => undefined }) };
}

const BLOCKS = 64;
const BLOCK = 4096;

const loadOf = (device: BlockDevice, more: Partial<LoadOptions> = {}): Load =>
  new Load({
    device,
    mode: 'mix',
    blockBytes: BLOCK,
    depth: 8,
    durationMs: 2000,
    isSequential: false,
    blockCount: BLOCKS,
    verifies: true,
    flushEvery: 0,
    clock: countingClock(),
    random: systemRandom,
    ...more,
  });

const memory = (): MemoryDevice => new MemoryDevice({ mediaSizeBytes: BLOCKS * BLOCK });

describe('a load', () => {
  test.each(['read', 'write', 'mix'] as const)('of mode %s does what it says', async (mode) => {
    const device = new RecorderDevice(memory());
    const load = loadOf(device, { mode, verifies: false });
    await load.run();
    const { reads, writes, errors } = load.totals;
    expect(reads + writes).toBeGreaterThan(1000);
    expect(load.latency.count).toBe(reads + writes);
    expect([reads > 0, writes > 0, errors]).toEqual([mode !== 'write', mode !== 'read', 0]);
    expect(device.events.filter(({ what, op }) => what === 'done' && op === 'read')).toHaveLength(reads);
    expect(device.events.filter(({ what, op }) => what === 'done' && op === 'write')).toHaveLength(writes);
  });

  test('keeps as many requests in flight as it was told', async () => {
    let inFlight = 0;
    let most = 0;
    const inner = memory();
    const counting: BlockDevice = {
      ...devicePart(inner),
      start(io) {
        inFlight += 1;
        most = Math.max(most, inFlight);
        inner.start({
          op: io.op,
          offsetBytes: io.offsetBytes,
          lengthBytes: io.lengthBytes,
          buffer: io.buffer,
          bufferAt: io.bufferAt,
          done: (error) => {
            inFlight -= 1;
            io.done(error);
          },
        });
      },
    };
    await loadOf(counting).run();
    expect(most).toBe(8);
    expect(inFlight).toBe(0);
  });

  test('goes through the device in order when it shall', async () => {
    const device = new RecorderDevice(memory());
    await loadOf(device, { mode: 'read', verifies: false, isSequential: true, depth: 1 }).run();
    const offsets = device.events.filter(({ what }) => what === 'start').map((event) => event.offsetBytes);
    expect(offsets.slice(0, 130)).toEqual(Array.from({ length: 130 }, (_, i) => (i % BLOCKS) * BLOCK));
  });

  test('flushes after every so many writes', async () => {
    const load = loadOf(memory(), { mode: 'write', flushEvery: 10 });
    await load.run();
    const { flushes, writes } = load.totals;
    expect(flushes).toBeGreaterThan(10);
    expect(flushes).toBe(load.flushLatency.count);
    expect(Math.abs(writes / 10 - flushes)).toBeLessThan(writes / 10);
  });

  test('counts failed requests and keeps the first error', async () => {
    const device = new FaultDevice(memory(), (io) =>
      io.offsetBytes === 0 && io.op === 'write' ? { kind: 'fail', errno: 'ENOSPC' } : null,
    );
    const load = loadOf(device);
    await load.run();
    expect(load.totals.errors).toBeGreaterThan(0);
    expect(load.totals.firstError).toMatchObject({ errno: 'ENOSPC' });
    expect(load.totals.mismatches).toBe(0);
  });

  test('ends early when it is stopped', async () => {
    const device = new RecorderDevice(memory());
    const load = loadOf(device, { durationMs: Number.POSITIVE_INFINITY });
    const end = load.run();
    queueMicrotask(() => load.stop());
    await end;
    expect(load.totals.checkedBlocks).toBeLessThan(1000);
  });
});

describe('a load that verifies', () => {
  test('reads back every block that it has written and finds a good device good', async () => {
    const load = loadOf(memory(), { mode: 'write' });
    await load.run();
    expect(load.totals.checkedBlocks).toBe(BLOCKS);
    expect(load.totals.mismatches).toBe(0);
  });

  test.each([
    { what: 'forgets a write', fault: { kind: 'forget' } as const },
    { what: 'mixes up two blocks', fault: 'misplace' as const },
    { what: 'changes one bit', fault: 'flip' as const },
    { what: 'keeps half of a write', fault: 'half' as const },
  ])('finds a device that now and then $what', async ({ fault }) => {
    let writes = 0;
    const inner = memory();
    const device: BlockDevice =
      typeof fault === 'object'
        ? new FaultDevice(inner, (io) => (io.op === 'write' && (writes += 1) % 50 === 0 ? fault : null))
        : { ...devicePart(inner), start: (io) => startBroken(inner, io, fault, (writes += 1) % 50 === 0) };
    const load = loadOf(device);
    await load.run();
    expect(load.totals.mismatches).toBeGreaterThan(0);
    expect(load.totals.mismatchDetails.length).toBeGreaterThan(0);
    expect(load.totals.mismatchDetails.length).toBeLessThanOrEqual(10);
    expect(load.totals.mismatchDetails[0]).toMatch(/^block \d+ at byte \d+: expected version \d+, found /);
  });
});

const devicePart = ({ name, mediaSizeBytes, sectorSizeBytes, can }: BlockDevice) => ({
  name,
  mediaSizeBytes,
  sectorSizeBytes,
  can,
  close: () => Promise.resolve(),
});

function startBroken(device: MemoryDevice, io: BlockIo, how: string, isNow: boolean): void {
  device.start(io);
  if (!isNow || io.op !== 'write' || io.buffer === null) return;
  const { data } = device;
  if (how === 'flip') data.writeUInt8(255 - data.readUInt8(io.offsetBytes + 2000), io.offsetBytes + 2000);
  if (how === 'half') data.fill(0, io.offsetBytes + 2048, io.offsetBytes + BLOCK);
  if (how === 'misplace') {
    const other = (io.offsetBytes + BLOCK) % data.length;
    data.copyWithin(other, io.offsetBytes, io.offsetBytes + BLOCK);
  }
}

describe('the pattern of verified blocks', () => {
  const pattern = new Pattern(512, systemRandom);
  const block = Buffer.alloc(512);

  test('knows its own blocks, and only the right version of the right one', () => {
    pattern.fill(block, 7, 3);
    expect(pattern.isIntact(block, 7, 3)).toBe(true);
    expect(pattern.isIntact(block, 7, 4)).toBe(false);
    expect(pattern.isIntact(block, 8, 3)).toBe(false);
    expect(pattern.describe(block)).toBe('version 3 of block 7');
  });

  test('notices each single changed byte', () => {
    for (let at = 0; at < 512; at++) {
      pattern.fill(block, 7, 3);
      block.writeUInt8((block.readUInt8(at) + 1) % 256, at);
      expect(pattern.isIntact(block, 7, 3), `byte ${at}`).toBe(false);
    }
  });

  test('is another one in each run', () => {
    new Pattern(512, systemRandom).fill(block, 7, 3);
    expect(pattern.isIntact(block, 7, 3)).toBe(false);
    expect(pattern.describe(block)).toBe('data that this run did not write');
  });
});

describe('the picker of blocks', () => {
  const options = { blockCount: 10, isSequential: false, isExclusive: true, seed: 1 };

  test('hands out no block twice before it is released', () => {
    const picker = new BlockPicker(options);
    const taken = Array.from({ length: 10 }, () => picker.take());
    expect(new Set(taken).size).toBe(10);
    picker.release(4);
    expect(picker.take()).toBe(4);
  });

  test.each([0, 1, 2 ** 31 - 1, 2 ** 32 - 1])('reaches every block from seed %i', (seed) => {
    const picker = new BlockPicker({ ...options, isExclusive: false, seed });
    expect(new Set(Array.from({ length: 1000 }, () => picker.take())).size).toBe(10);
  });
});

describe('the histogram', () => {
  test('gives percentiles that are at most 2.2 % too high and never too low', () => {
    const histogram = new Histogram();
    for (let value = 1; value <= 10_000; value++) histogram.record(value / 100);
    for (const share of [0.01, 0.5, 0.9, 0.99, 0.999]) {
      const exact = share * 100;
      expect(histogram.percentileMs(share)).toBeGreaterThanOrEqual(exact);
      expect(histogram.percentileMs(share)).toBeLessThanOrEqual(exact * 1.022);
    }
    expect(histogram.percentileMs(1)).toBe(100);
    expect([histogram.maxMs, histogram.count]).toEqual([100, 10_000]);
    expect(histogram.meanMs).toBeCloseTo(50.005, 6);
  });

  test('takes anything from nothing to hours', () => {
    const histogram = new Histogram();
    expect(histogram.percentileMs(0.5)).toBe(0);
    for (const value of [0, 1e-9, 1e12]) histogram.record(value);
    expect([histogram.count, histogram.maxMs]).toEqual([3, 1e12]);
  });
});
