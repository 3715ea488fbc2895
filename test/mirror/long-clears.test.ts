import { describe, expect, test } from 'vitest';
import { clear, start, writeBytes } from '../support/device-requests.js';
import { makeRig, type Rig, type RigDisk } from '../support/mirror-rig.js';

const MIB = 1_048_576;
const MEDIA = 64 * MIB;
const EXTENT = 4 * MIB;
/** From the middle of an extent to the middle of another one, over more than the log has room for. */
const RANGE = { offsetBytes: 2 * MIB + 4096, lengthBytes: 50 * MIB };

function disk(rig: Rig, slot: number): RigDisk {
  const found = rig.disks[slot];
  if (found === undefined) throw new Error(`no disk ${slot}`);
  return found;
}

/** Both disks are full of ones, and the log holds four extents. */
function fullRig(can: Parameters<typeof makeRig>[0] = {}): Rig {
  const rig = makeRig({ mediaSizeBytes: MEDIA, options: { extentsMax: 4 }, ...can });
  for (const { memory } of rig.disks) memory.data.fill(1);
  return rig;
}

/** Zero exactly in the range. */
function expectCleared(rig: Rig): void {
  const expected = Buffer.alloc(MEDIA, 1).fill(0, RANGE.offsetBytes, RANGE.offsetBytes + RANGE.lengthBytes);
  for (const { memory } of rig.disks) expect(memory.data.equals(expected)).toBe(true);
}

describe('a trim or write-zeroes longer than the activity log', () => {
  test.each([
    { op: 'trim', can: {}, sent: 'write-zeroes' },
    { op: 'write-zeroes', can: {}, sent: 'write-zeroes' },
    { op: 'trim', can: { writeZeroes: false, trim: false }, sent: 'write' },
  ] as const)('reaches components as $sent, by extents, a few at a time: $op', async ({ op, can, sent }) => {
    const rig = fullRig({ can });
    const pieces: { op: string; offsetBytes: number; lengthBytes: number }[] = [];
    const device = disk(rig, 1);
    device.fault.plan = ({ op: itsOp, offsetBytes, lengthBytes }) => {
      if (itsOp === 'flush') return null;
      pieces.push({ op: itsOp, offsetBytes, lengthBytes });
      return { kind: 'hold' };
    };
    const answers: unknown[] = [];
    const done = start(rig.mirror, op, RANGE).then((error) => answers.push(error));
    while (answers.length === 0) {
      await rig.settle();
      expect(device.fault.heldCount).toBeLessThanOrEqual(4);
      device.fault.release();
    }
    await done;
    expect(answers).toEqual([null]);
    expectCleared(rig);
    expect(new Set(pieces.map((piece) => piece.op))).toEqual(new Set([sent]));
    for (const { offsetBytes, lengthBytes } of pieces) {
      expect(Math.floor(offsetBytes / EXTENT)).toBe(Math.floor((offsetBytes + lengthBytes - 1) / EXTENT));
    }
    expect(pieces.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0)).toBe(RANGE.lengthBytes);
    expect(rig.mirror.locks.heldCount).toBe(0);
  });

  test('keeps no other write waiting but those that meet one of its pieces', async () => {
    const rig = fullRig();
    const { fault } = disk(rig, 1);
    fault.plan = ({ op }) => (op === 'write-zeroes' ? { kind: 'hold' } : null);
    const clearing = clear(rig.mirror, 'write-zeroes', { offsetBytes: 0, lengthBytes: 12 * MIB });
    await rig.settle();
    await writeBytes(rig.mirror, 13 * MIB, Buffer.alloc(4096, 5));
    fault.plan = () => null;
    fault.release();
    await clearing;
    expect(disk(rig, 0).memory.data.equals(disk(rig, 1).memory.data)).toBe(true);
  });

  test('that fails everywhere is answered once, and nothing of it is under way then', async () => {
    const rig = fullRig();
    for (const { fault } of rig.disks) {
      fault.plan = ({ op, offsetBytes }) => {
        if (op === 'write-zeroes' && offsetBytes === 3 * EXTENT) return { kind: 'fail', errno: 'EIO' };
        return null;
      };
    }
    const error = await start(rig.mirror, 'write-zeroes', RANGE);
    expect(error?.errno).toBe('EIO');
    expect([rig.mirror.locks.heldCount, rig.mirror.locks.waitingCount]).toEqual([0, 0]);
    const data = disk(rig, 0).memory.data;
    expect(data[data.length - EXTENT]).toBe(1);
  });

  test('is finished before the mirror ends', async () => {
    const rig = fullRig();
    const clearing = clear(rig.mirror, 'write-zeroes', RANGE);
    await Promise.all([clearing, rig.mirror.close()]);
    expectCleared(rig);
  });
});
