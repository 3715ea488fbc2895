import { describe, expect, test } from 'vitest';
import { slice } from '../../src/device/wrappers/slice.js';
import { checksumRegions } from '../../src/protocol/region-checksums.js';
import { checksumsOf, flush, pattern, readBytes, start, writeBytes } from '../support/device-requests.js';
import { FaultDevice } from '../support/fault-device.js';
import { MemoryDevice } from '../support/memory-device.js';
import { RecorderDevice } from '../support/recorder-device.js';

describe('a slice', () => {
  test('shows its part of the parent, and a flush goes to all of it', async () => {
    const memory = new MemoryDevice();
    const recorder = new RecorderDevice(memory);
    const part = slice(recorder, { offsetBytes: 4096, lengthBytes: 8192 });
    await writeBytes(part, 7680, pattern(512, 1));
    await flush(part);
    expect(recorder.started()).toEqual(['write 11776+512', 'flush 0+0']);
    expect(memory.data.subarray(11_776, 12_288).equals(pattern(512, 1))).toBe(true);
  });

  test.each([
    { what: 'its regions are those of the parent', offsetBytes: 65_536, lengthBytes: 131_072, can: true },
    { what: 'it ends with the parent', offsetBytes: 65_536, lengthBytes: 1_000_448 - 65_536, can: true },
    { what: 'it starts inside a region', offsetBytes: 512, lengthBytes: 131_072, can: false },
    { what: 'it ends inside a region', offsetBytes: 0, lengthBytes: 66_048, can: true },
  ])('can sum regions: $can when $what', ({ can, ...range }) => {
    expect(slice(new MemoryDevice({ mediaSizeBytes: 1_000_448 }), range).can.checksum).toBe(can);
  });

  test.each([
    { what: 'whole regions and the last one', offsetBytes: 65_536, lengthBytes: 65_536 + 4096 },
    { what: 'the last one alone', offsetBytes: 131_072, lengthBytes: 4096 },
    { what: 'whole regions', offsetBytes: 0, lengthBytes: 131_072 },
  ])('that ends inside a region of its parent sums only what it has: $what', async (range) => {
    const memory = new MemoryDevice();
    pattern(memory.mediaSizeBytes, 3).copy(memory.data);
    const part = slice(memory, { offsetBytes: 0, lengthBytes: 131_072 + 4096 });
    const expected = Buffer.alloc(8 * Math.ceil(range.lengthBytes / 65_536));
    checksumRegions(
      memory.data.subarray(range.offsetBytes, range.offsetBytes + range.lengthBytes),
      expected,
      0,
    );
    expect(await checksumsOf(part, range)).toEqual(expected);
  });

  test.each([
    { what: 'outside the parent', offsetBytes: 1_048_064, lengthBytes: 1024 },
    { what: 'inside a sector', offsetBytes: 256, lengthBytes: 512 },
  ])('is no slice $what', ({ offsetBytes, lengthBytes }) => {
    expect(() => slice(new MemoryDevice(), { offsetBytes, lengthBytes })).toThrow(/^bug: /);
  });

  test('closes its parent unless told not to', async () => {
    const memory = new MemoryDevice();
    const range = { offsetBytes: 0, lengthBytes: 4096 };
    await slice(memory, range, { closesParent: false }).close();
    await writeBytes(memory, 0, pattern(512, 1));
    await slice(memory, range).close();
    const outcome = await start(memory, 'flush', { offsetBytes: 0, lengthBytes: 0 });
    expect(outcome?.code).toBe('DEVICE_CLOSED');
  });

  test("passes on its parent's errors", async () => {
    const broken = new FaultDevice(new MemoryDevice(), () => ({ kind: 'fail', errno: 'ENOSPC' }));
    const outcome = await start(
      slice(broken, { offsetBytes: 512, lengthBytes: 512 }),
      'write',
      { offsetBytes: 0, lengthBytes: 512 },
      Buffer.alloc(512),
    );
    expect(outcome).toMatchObject({ code: 'DEVICE_IO', errno: 'ENOSPC' });
  });
});

describe('the fault injector of the tests', () => {
  const range = { offsetBytes: 0, lengthBytes: 1024 };

  test('fails, forgets and tears writes as planned', async () => {
    const memory = new MemoryDevice();
    const device = new FaultDevice(memory, () => ({ kind: 'fail', errno: 'EROFS' }));
    expect(await start(device, 'write', range, pattern(1024, 1))).toMatchObject({ errno: 'EROFS' });
    device.plan = () => ({ kind: 'forget' });
    expect(await start(device, 'write', range, pattern(1024, 1))).toBeNull();
    expect(memory.data.subarray(0, 1024).every((byte) => byte === 0)).toBe(true);
    device.plan = () => ({ kind: 'tear', keptBytes: 512 });
    expect(await start(device, 'write', range, pattern(1024, 1))).toMatchObject({ errno: 'EIO' });
    expect(memory.data.subarray(0, 512).equals(pattern(1024, 1).subarray(0, 512))).toBe(true);
    expect(memory.data.subarray(512, 1024).every((byte) => byte === 0)).toBe(true);
  });

  test('holds requests until they are released, and closes only then', async () => {
    const device = new FaultDevice(new MemoryDevice(), () => ({ kind: 'hold' }));
    const write = start(device, 'write', range, pattern(1024, 2));
    const order: string[] = [];
    const closed = device.close().then(() => order.push('closed'));
    const written = write.then(() => order.push('written'));
    expect(device.heldCount).toBe(1);
    device.release();
    await Promise.all([closed, written]);
    expect(order).toEqual(['written', 'closed']);
    expect(await write).toBeNull();
  });

  test('lets through what has no fault', async () => {
    const device = new FaultDevice(new MemoryDevice(), (io) =>
      io.offsetBytes >= 4096 ? { kind: 'fail', errno: 'EIO' } : null,
    );
    await writeBytes(device, 0, pattern(4096, 3));
    expect((await readBytes(device, { offsetBytes: 0, lengthBytes: 4096 })).equals(pattern(4096, 3))).toBe(
      true,
    );
    await expect(readBytes(device, { offsetBytes: 4096, lengthBytes: 512 })).rejects.toMatchObject({
      errno: 'EIO',
    });
  });
});
