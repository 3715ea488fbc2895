import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { compareEnds, type CompareOptions, type Comparison } from '../../../src/cli/copy/compare.js';
import type { CopyEnd } from '../../../src/cli/copy/end.js';
import { InterruptedError } from '../../../src/cli/errors.js';
import { ManualInterrupt, noInterrupt } from '../../../src/cli/interrupt.js';
import { copyEnd } from '../../support/copy-end.js';
import { FaultDevice } from '../../support/fault-device.js';
import { MemoryDevice } from '../../support/memory-device.js';
import { RecorderDevice } from '../../support/recorder-device.js';
import { sealed } from '../../support/sealed-block.js';

const SIZE = 5 * 1_048_576 + 1536;

function pair(can = {}, targetSizeBytes = SIZE): { source: MemoryDevice; target: MemoryDevice } {
  const source = new MemoryDevice({ mediaSizeBytes: SIZE, can });
  const target = new MemoryDevice({ mediaSizeBytes: targetSizeBytes, can });
  randomBytes(SIZE).copy(source.data);
  source.data.copy(target.data);
  return { source, target };
}

const compare = (source: CopyEnd, target: CopyEnd, more: Partial<CompareOptions> = {}): Promise<Comparison> =>
  compareEnds({
    source,
    target,
    range: { offsetBytes: 0, lengthBytes: SIZE },
    advanced: () => undefined,
    interrupt: noInterrupt,
    stopsEarly: false,
    ...more,
  });

describe.each([
  { how: 'checksums', can: {} },
  { how: 'data', can: { checksum: false } },
])('comparing by $how', ({ how, can }) => {
  test('finds equal ends equal and says how it looked', async () => {
    const { source, target } = pair(can);
    let bytes = 0;
    const advanced = (more: number): void => void (bytes += more);
    expect(await compare(copyEnd(source), copyEnd(target), { advanced })).toEqual({
      how,
      differentRegions: 0,
      firstOffsetsBytes: [],
    });
    expect(bytes).toBe(SIZE);
  });

  test.each([0, 1, 65_535, 65_536, 1_048_575, 1_048_576, 3_000_000, SIZE - 1])(
    'finds the one byte at %i that differs',
    async (offset) => {
      const { source, target } = pair(can);
      target.data.writeUInt8((target.data.readUInt8(offset) + 1) % 256, offset);
      expect(await compare(copyEnd(source), copyEnd(target))).toEqual({
        how,
        differentRegions: 1,
        firstOffsetsBytes: [offset],
      });
    },
  );

  test('finds a block that ends with its own CRC32C, which leaves that of the region as it was', async () => {
    const { source, target } = pair(can);
    const at = 3 * 65_536 + 4096;
    sealed(Buffer.alloc(4096, 0x11)).copy(source.data, at);
    sealed(Buffer.alloc(4096, 0x22)).copy(target.data, at);
    expect(await compare(copyEnd(source), copyEnd(target))).toEqual({
      how,
      differentRegions: 1,
      firstOffsetsBytes: [at],
    });
  });

  test('counts all regions that differ and names the first ten in order', async () => {
    const { source, target } = pair(can);
    target.data.fill(0);
    const { differentRegions, firstOffsetsBytes } = await compare(copyEnd(source), copyEnd(target));
    expect(differentRegions).toBe(Math.ceil(SIZE / 65_536));
    const regions = firstOffsetsBytes.map((offset) => Math.floor(offset / 65_536));
    expect(regions).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });

  test('looks at the source’s size only when the target is larger', async () => {
    const { source, target } = pair(can, SIZE + 1_048_576);
    target.data.fill(0xee, SIZE);
    expect(await compare(copyEnd(source), copyEnd(target))).toMatchObject({ differentRegions: 0 });
    target.data.writeUInt8((target.data.readUInt8(SIZE - 1) + 1) % 256, SIZE - 1);
    expect(await compare(copyEnd(source), copyEnd(target))).toMatchObject({
      firstOffsetsBytes: [SIZE - 1],
    });
  });
});

describe('a comparison', () => {
  test('has a remote end reckon checksums and transfers none of its data', async () => {
    const { source, target } = pair();
    const remote = new RecorderDevice(target);
    await compare(copyEnd(source, { isRemote: false }), copyEnd(remote));
    expect(new Set(remote.events.map(({ op }) => op))).toEqual(new Set(['checksum']));
  });

  test('compares data when both ends are local', async () => {
    const { source, target } = pair();
    const local = { isRemote: false };
    expect(await compare(copyEnd(source, local), copyEnd(target, local))).toMatchObject({ how: 'data' });
  });

  test('stops at the first difference when that is all it is asked for', async () => {
    const { source, target } = pair({ checksum: false });
    target.data.fill(0);
    const recorded = new RecorderDevice(target);
    const result = await compare(copyEnd(source), copyEnd(recorded), { stopsEarly: true });
    expect(result.differentRegions).toBeGreaterThan(0);
    const lastOffset = Math.max(...recorded.events.map(({ offsetBytes }) => offsetBytes));
    expect(lastOffset).toBeLessThan(5 * 1_048_576);
  });

  test('skips what is a hole at both ends, and nothing that is a hole at one only', async () => {
    const { source, target } = pair();
    source.data.fill(0);
    target.data.fill(0);
    target.data.writeUInt8(1, 2_000_000);
    const none = { askData: () => Promise.resolve(null) };
    expect(await compare(copyEnd(source, none), copyEnd(target))).toMatchObject({
      firstOffsetsBytes: [2_000_000],
    });
    const recorded = new RecorderDevice(target);
    await compare(copyEnd(source, none), copyEnd(recorded, none));
    expect(recorded.events).toEqual([]);
  });

  test('fails with the error of either end', async () => {
    const { source, target } = pair({ checksum: false });
    const broken = new FaultDevice(target, (io) =>
      io.offsetBytes === 1_048_576 ? { kind: 'fail', errno: 'EIO' } : null,
    );
    await expect(compare(copyEnd(source), copyEnd(broken))).rejects.toMatchObject({ errno: 'EIO' });
    await expect(compare(copyEnd(broken), copyEnd(source))).rejects.toMatchObject({ errno: 'EIO' });
  });

  test('ends with a signal', async () => {
    const { source, target } = pair({ checksum: false });
    const interrupt = new ManualInterrupt();
    const advanced = (): void => interrupt.interrupt(2);
    const end = compare(copyEnd(source), copyEnd(target), { interrupt, advanced });
    await expect(end).rejects.toBeInstanceOf(InterruptedError);
  });
});
