import { describe, expect, test } from 'vitest';
import { flush, request } from '../../src/device/request.js';
import { KeptWrites, watchFlushes } from '../../src/device/wrappers/kept-writes.js';
import type { BlockDevice } from '../../src/device/block-device.js';
import { FaultDevice } from '../support/fault-device.js';
import { SeededRandom } from '../support/seeded-random.js';
import { until } from '../support/until.js';
import { VolatileDevice } from '../support/volatile-device.js';

const BLOCK = 4096;

const newDisk = (): VolatileDevice => new VolatileDevice({ medium: Buffer.alloc(16 * BLOCK) });

const put = (device: BlockDevice, block: number, value: number): Promise<void> =>
  request(device, 'write', { offsetBytes: block * BLOCK, lengthBytes: BLOCK }, Buffer.alloc(BLOCK, value));

/** The next flush fails, and what was dirty is forgotten. */
function failNextFlush(disk: VolatileDevice): void {
  let left = 1;
  disk.failing = ({ op }) => op === 'flush' && left-- > 0;
}

/** What certainly is on the medium: these bytes are there whatever a loss of power leaves. */
function onMedium(disk: VolatileDevice, block: number): number | null {
  const found = Array.from(
    { length: 20 },
    (_, seed) => disk.crash(new SeededRandom(1 + seed))[block * BLOCK] ?? 0,
  );
  return new Set(found).size === 1 ? (found[0] ?? null) : null;
}

describe('after a flush that failed', () => {
  test('the next good one covers all that was written before it', async () => {
    const disk = newDisk();
    const kept = KeptWrites.of(disk);
    await put(kept, 1, 1);
    await flush(kept);
    for (const [block, value] of [
      [1, 2],
      [2, 3],
      [2, 4],
    ] as const)
      await put(kept, block, value);
    failNextFlush(disk);
    await expect(flush(kept)).rejects.toThrow('flush');
    expect(onMedium(disk, 2)).toBeNull();
    await put(kept, 3, 5);
    await flush(kept);
    expect([1, 2, 3].map((block) => onMedium(disk, block))).toEqual([2, 4, 5]);
  });

  test('that was asked for beside it the same holds, also where it failed while one of its own was under way', async () => {
    const disk = newDisk();
    const faulty = new FaultDevice(disk);
    const kept = KeptWrites.of(faulty);
    const beside = watchFlushes(disk, kept.flushFailed);
    await put(kept, 1, 1);
    faulty.plan = ({ op }) => (op === 'flush' ? { kind: 'hold' } : null);
    const flushed = flush(kept);
    await until('the flush to be held', () => faulty.heldCount === 1);
    failNextFlush(disk);
    await expect(flush(beside)).rejects.toThrow('flush');
    faulty.plan = () => null;
    faulty.release();
    await flushed;
    expect(onMedium(disk, 1)).toBe(1);
  });

  test('what is written meanwhile is not replaced by what was there before', async () => {
    const disk = newDisk();
    const faulty = new FaultDevice(disk);
    const kept = KeptWrites.of(faulty);
    await put(kept, 1, 1);
    failNextFlush(disk);
    await expect(flush(kept)).rejects.toThrow('flush');
    faulty.plan = ({ op }) => (op === 'write' ? { kind: 'hold' } : null);
    const flushed = flush(kept);
    await until('the write of what was kept', () => faulty.heldCount === 1);
    const newer = put(kept, 1, 2);
    faulty.plan = () => null;
    faulty.release();
    await Promise.all([flushed, newer]);
    await flush(kept);
    expect(onMedium(disk, 1)).toBe(2);
  });

  test('zeros that were written since stay', async () => {
    const disk = newDisk();
    const kept = KeptWrites.of(disk);
    await put(kept, 1, 1);
    failNextFlush(disk);
    await expect(flush(kept)).rejects.toThrow('flush');
    await request(kept, 'write-zeroes', { offsetBytes: 0, lengthBytes: 4 * BLOCK }, null);
    await flush(kept);
    expect(onMedium(disk, 1)).toBe(0);
  });

  test('that only said that the device can not flush nothing is written again', async () => {
    const disk = newDisk();
    const faulty = new FaultDevice(disk, ({ op }) =>
      op === 'flush' ? { kind: 'fail', errno: 'EOPNOTSUPP' } : null,
    );
    const kept = KeptWrites.of(faulty);
    await put(kept, 1, 1);
    for (let round = 0; round < 2; round++)
      await expect(flush(kept)).rejects.toMatchObject({ errno: 'EOPNOTSUPP' });
    expect(disk.requestCount).toBe(1);
  });

  test('what overlaps in part is written again in the order in which it was written', async () => {
    const disk = newDisk();
    const kept = KeptWrites.of(disk);
    const run = Buffer.alloc(3 * BLOCK, 1);
    await request(kept, 'write', { offsetBytes: BLOCK, lengthBytes: run.length }, run);
    for (const block of [1, 2]) await put(kept, block, 2);
    failNextFlush(disk);
    await expect(flush(kept)).rejects.toThrow('flush');
    await flush(kept);
    expect([1, 2, 3].map((block) => onMedium(disk, block))).toEqual([2, 2, 1]);
  });
});

describe('no more is kept than was said', () => {
  test('since a flush comes first', async () => {
    const disk = newDisk();
    const kept = KeptWrites.of(disk, 2 * BLOCK);
    await Promise.all([1, 2].map((block) => put(kept, block, block)));
    await Promise.all([3, 4, 5].map((block) => put(kept, block, block)));
    expect([1, 2].map((block) => onMedium(disk, block))).toEqual([1, 2]);
    await flush(kept);
    expect([3, 4, 5].map((block) => onMedium(disk, block))).toEqual([3, 4, 5]);
  });

  test('and what waits for that fails with it', async () => {
    const disk = newDisk();
    const kept = KeptWrites.of(disk, 2 * BLOCK);
    await Promise.all([1, 2].map((block) => put(kept, block, block)));
    failNextFlush(disk);
    await expect(put(kept, 3, 3)).rejects.toThrow('flush');
    await put(kept, 3, 4);
    await flush(kept);
    expect([1, 2, 3].map((block) => onMedium(disk, block))).toEqual([1, 2, 4]);
  });
});
