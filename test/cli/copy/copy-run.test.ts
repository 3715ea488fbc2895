import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { CopyEnd } from '../../../src/cli/copy/end.js';
import { CopyRun, type CopyOptions } from '../../../src/cli/copy/run.js';
import { loadState } from '../../../src/cli/copy/resume.js';
import { InterruptedError } from '../../../src/cli/errors.js';
import { ManualInterrupt, noInterrupt } from '../../../src/cli/interrupt.js';
import { copyEnd } from '../../support/copy-end.js';
import { FakeClock } from '../../support/fake-clock.js';
import { FaultDevice } from '../../support/fault-device.js';
import { MemoryDevice } from '../../support/memory-device.js';
import { RecorderDevice } from '../../support/recorder-device.js';
import { makeScratch, type Scratch } from '../../support/scratch.js';
import { until } from '../../support/until.js';

const CHUNK = 65_536;
const SIZE = CHUNK * 32 + 1536;

let scratch: Scratch;
beforeEach(() => (scratch = makeScratch()));
afterEach(() => scratch.remove());

/** Random data, with zeros in the middle third. */
function filledSource(sizeBytes = SIZE): MemoryDevice {
  const source = new MemoryDevice({ mediaSizeBytes: sizeBytes, name: 'source' });
  randomBytes(sizeBytes).copy(source.data);
  source.data.fill(0, CHUNK * 10, CHUNK * 20);
  return source;
}

function runOf(source: CopyEnd, target: CopyEnd, more: Partial<CopyOptions> = {}): CopyRun {
  return new CopyRun({
    source,
    target,
    depth: 4,
    chunkBytes: CHUNK,
    isDense: false,
    startBytes: 0,
    statePath: scratch.path('state'),
    clock: new FakeClock(),
    interrupt: noInterrupt,
    advanced: () => undefined,
    note: () => undefined,
    ...more,
  });
}

describe('a copy', () => {
  test.each([
    { what: 'a target that can zero', can: {} },
    { what: 'a target that can only write', can: { writeZeroes: false, trim: false, checksum: false } },
    { what: 'a target that can’t flush', can: { flush: false } },
  ])('makes $what identical, old data included', async ({ can }) => {
    const source = filledSource();
    const target = new MemoryDevice({ mediaSizeBytes: SIZE, can });
    target.data.fill(0xee);
    let advancedBytes = 0;
    const advanced = (bytes: number): void => void (advancedBytes += bytes);
    const run = runOf(copyEnd(source), copyEnd(target), { advanced });
    await run.run();
    expect(target.data.equals(source.data)).toBe(true);
    expect(advancedBytes).toBe(SIZE);
    expect(run.totals.skippedBytes).toBe(0);
  });

  test('writes no zeros to a file that was made for it', async () => {
    const source = filledSource();
    const target = new MemoryDevice({ mediaSizeBytes: SIZE });
    const run = runOf(copyEnd(source), copyEnd(target, { isFresh: true, isRemote: false }));
    await run.run();
    expect(target.data.equals(source.data)).toBe(true);
    expect(run.totals).toEqual({
      readBytes: SIZE,
      writtenBytes: SIZE - CHUNK * 10,
      zeroedBytes: 0,
      skippedBytes: CHUNK * 10,
    });
  });

  test('does not read the holes of its source, but zeroes them in the target', async () => {
    const source = filledSource();
    const end = copyEnd(source, {
      askData: (fromBytes) =>
        Promise.resolve(
          fromBytes < CHUNK * 10
            ? { offsetBytes: fromBytes, lengthBytes: CHUNK * 10 - fromBytes }
            : fromBytes < CHUNK * 20
              ? { offsetBytes: CHUNK * 20, lengthBytes: SIZE - CHUNK * 20 }
              : { offsetBytes: fromBytes, lengthBytes: SIZE - fromBytes },
        ),
    });
    const target = new MemoryDevice({ mediaSizeBytes: SIZE });
    target.data.fill(0xee);
    const run = runOf(end, copyEnd(target));
    await run.run();
    expect(target.data.equals(source.data)).toBe(true);
    expect(run.totals.readBytes).toBe(SIZE - CHUNK * 10);
    expect(run.totals.zeroedBytes).toBe(CHUNK * 10);
  });

  test('reads and writes everything when it shall be dense', async () => {
    const target = new MemoryDevice({ mediaSizeBytes: SIZE, can: { writeZeroes: false } });
    const run = runOf(copyEnd(filledSource()), copyEnd(target, { isFresh: true }), { isDense: true });
    await run.run();
    expect(run.totals).toMatchObject({ readBytes: SIZE, writtenBytes: SIZE, skippedBytes: 0 });
  });

  test('leaves what is behind its source’s end alone', async () => {
    const source = filledSource();
    const target = new MemoryDevice({ mediaSizeBytes: SIZE + CHUNK });
    target.data.fill(0xee);
    await runOf(copyEnd(source), copyEnd(target)).run();
    expect(target.data.subarray(0, SIZE).equals(source.data)).toBe(true);
    expect(target.data.subarray(SIZE).equals(Buffer.alloc(CHUNK, 0xee))).toBe(true);
  });

  test('keeps no more requests in flight than it was told', async () => {
    const source = new FaultDevice(filledSource(), (io) => (io.op === 'read' ? { kind: 'hold' } : null));
    const target = new MemoryDevice({ mediaSizeBytes: SIZE });
    const end = runOf(copyEnd(source), copyEnd(target), { depth: 3 }).run();
    let most = 0;
    let isOver = false;
    const over = end.then(() => (isOver = true));
    await until('the end of the copy', () => {
      most = Math.max(most, source.heldCount);
      source.release();
      return isOver;
    });
    await over;
    expect(most).toBe(3);
  });

  test('ends with a flush, after the last write', async () => {
    const target = new RecorderDevice(new MemoryDevice({ mediaSizeBytes: SIZE }));
    await runOf(copyEnd(filledSource()), copyEnd(target)).run();
    expect(target.events.at(-1)).toMatchObject({ what: 'done', op: 'flush', errno: null });
    expect(target.events.findLast(({ what }) => what === 'start')).toMatchObject({ op: 'flush' });
  });

  test.each(['read', 'write', 'flush'])(
    'fails with the error of a %s, after all others are done',
    async (op) => {
      const memory = new MemoryDevice({ mediaSizeBytes: SIZE });
      const plan = (io: { op: string; offsetBytes: number }) =>
        io.op === op && (op === 'flush' || io.offsetBytes >= CHUNK * 5)
          ? ({ kind: 'fail', errno: 'ENOSPC' } as const)
          : null;
      const source = new FaultDevice(filledSource(), op === 'read' ? plan : () => null);
      const target = new FaultDevice(memory, op === 'read' ? () => null : plan);
      await expect(runOf(copyEnd(source), copyEnd(target)).run()).rejects.toMatchObject({ errno: 'ENOSPC' });
      // close() of these resolves only when nothing is under way any more.
      await Promise.all([source.close(), target.close()]);
    },
  );
});

describe('a checkpoint', () => {
  test('notes only what was answered before its flush began', async () => {
    const clock = new FakeClock();
    const source = filledSource();
    // Everything is written but the block at 6 chunks, and so nothing from there on is safe.
    const stuck = CHUNK * 6;
    const target = new FaultDevice(new MemoryDevice({ mediaSizeBytes: SIZE }), (io) =>
      io.op === 'write' && io.offsetBytes === stuck ? { kind: 'hold' } : null,
    );
    const recorded = new RecorderDevice(target);
    const end = runOf(copyEnd(source), copyEnd(recorded), { clock }).run();
    const isAlmostDone = (): boolean =>
      recorded.events.some(({ what, offsetBytes }) => what === 'done' && offsetBytes === CHUNK * 32);
    await until('all writes but one', isAlmostDone);
    clock.advance(10_000);
    const state = await until('a checkpoint', () => {
      const found = loadState(scratch.path('state'));
      return found !== null && found.safeBytes > 0 && found;
    });
    expect(state.safeBytes).toBe(stuck);
    target.release();
    await end;
  });

  test('that fails is told, moves nothing and stops nothing', async () => {
    const clock = new FakeClock();
    const notes: string[] = [];
    let flushes = 0;
    const target = new FaultDevice(new MemoryDevice({ mediaSizeBytes: SIZE }), (io) => {
      if (io.op === 'write' && io.offsetBytes === CHUNK * 6 && flushes === 0) return { kind: 'hold' };
      if (io.op !== 'flush') return null;
      flushes += 1;
      return flushes === 1 ? { kind: 'fail', errno: 'EIO' } : null;
    });
    const end = runOf(copyEnd(filledSource()), copyEnd(target), {
      clock,
      note: (text) => notes.push(text),
    }).run();
    await until('the held write', () => target.heldCount === 1);
    clock.advance(10_000);
    await until('the warning', () => notes.length > 0);
    expect(loadState(scratch.path('state'))?.safeBytes).toBe(0);
    expect(notes[0]).toMatch(/no checkpoint/);
    target.release();
    await end;
    expect(flushes).toBe(2);
  });
});

describe('a checkpoint that is under way when all is copied', () => {
  test('is waited for, and none comes after it', async () => {
    const clock = new FakeClock();
    let flushes = 0;
    const target = new FaultDevice(new MemoryDevice({ mediaSizeBytes: SIZE }), (io) => {
      if (io.op === 'write' && io.offsetBytes === 0) return { kind: 'hold' };
      return io.op === 'flush' && (flushes += 1) === 1 ? { kind: 'hold' } : null;
    });
    let isOver = false;
    const end = runOf(copyEnd(filledSource()), copyEnd(target), { clock })
      .run()
      .then(() => (isOver = true));
    await until('the held write', () => target.heldCount === 1);
    clock.advance(10_000);
    await until('the held flush', () => target.heldCount === 2);
    target.release();
    await end;
    expect(isOver).toBe(true);
    expect(flushes).toBe(2);
    expect(clock.timerCount).toBe(0);
  });
});

describe('a target whose host restarts', () => {
  test('gets again what it may have lost', async () => {
    const source = filledSource();
    const memory = new MemoryDevice({ mediaSizeBytes: SIZE });
    let losses = 0;
    // The host forgets all it was told, as the flush comes, which fails for it.
    const target = new FaultDevice(memory, (io) => {
      if (io.op !== 'flush' || losses > 0) return null;
      losses = 1;
      memory.data.fill(0);
      return { kind: 'fail', errno: 'ECONNRESET', code: 'DEVICE_LOST' };
    });
    const notes: string[] = [];
    let advancedBytes = 0;
    await runOf(copyEnd(source), copyEnd(target, { lossCount: () => losses }), {
      note: (text) => notes.push(text),
      advanced: (bytes) => void (advancedBytes += bytes),
    }).run();
    expect(memory.data.equals(source.data)).toBe(true);
    expect(notes.join()).toMatch(/restarted/);
    expect(advancedBytes).toBe(SIZE);
  });
});

describe('an interrupted copy', () => {
  test('flushes, notes how far it is and says how to go on', async () => {
    const interrupt = new ManualInterrupt();
    const source = filledSource();
    const memory = new MemoryDevice({ mediaSizeBytes: SIZE });
    const target = new FaultDevice(memory, (io) => {
      if (io.op === 'write' && io.offsetBytes === CHUNK * 22) interrupt.interrupt(2);
      return null;
    });
    const run = runOf(copyEnd(source), copyEnd(target), { interrupt });
    const error: unknown = await run.run().catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(InterruptedError);
    expect(error).toMatchObject({ signalNumber: 2 });
    expect((error as Error).message).toMatch(/same command again/);
    const safeBytes = loadState(scratch.path('state'))?.safeBytes ?? 0;
    expect(safeBytes).toBeGreaterThan(CHUNK * 22);
    expect(safeBytes).toBeLessThan(SIZE);
    expect(memory.data.subarray(0, safeBytes).equals(source.data.subarray(0, safeBytes))).toBe(true);
    // The next run does the rest and no more.
    const next = runOf(copyEnd(source), copyEnd(target), { startBytes: safeBytes });
    await next.run();
    expect(memory.data.equals(source.data)).toBe(true);
    expect(next.totals.readBytes).toBe(SIZE - safeBytes);
  });

  test.each([
    { what: 'anything', waitMs: 0 },
    { what: 'the flush of a checkpoint either', waitMs: 10_000 },
  ])('waits for a target that does not answer $what no longer than it says', async ({ waitMs }) => {
    const interrupt = new ManualInterrupt();
    const clock = new FakeClock();
    const target = new FaultDevice(new MemoryDevice({ mediaSizeBytes: SIZE }), () => ({ kind: 'hold' }));
    const notes: string[] = [];
    const end = runOf(copyEnd(filledSource()), copyEnd(target), {
      interrupt,
      clock,
      note: (text) => notes.push(text),
    }).run();
    let isOver = false;
    const over = expect(end)
      .rejects.toBeInstanceOf(InterruptedError)
      .then(() => (isOver = true));
    await until('requests in flight', () => target.heldCount > 0);
    clock.advance(waitMs);
    interrupt.interrupt(15);
    await until('the end', () => {
      clock.advance(1000);
      return isOver;
    });
    await over;
    expect(clock.nowMs()).toBeLessThan(60_000);
    expect(JSON.parse(readFileSync(scratch.path('state'), 'utf8'))).toMatchObject({ safeBytes: 0 });
    expect(notes.join()).toMatch(/not flushed/);
    target.release();
  });
});
