import { beforeEach, describe, expect, test } from 'vitest';
import { DeviceError } from '../../../src/device/block-device.js';
import { COMMAND } from '../../../src/protocol/request.js';
import { FlushDebt } from '../../../src/server/flush-debt.js';
import { SessionMemory } from '../../../src/server/session/memory.js';
import { SlowRequests } from '../../../src/server/session/slow-requests.js';
import { FakeClock } from '../../support/fake-clock.js';
import { type Reply, replies, request } from '../../support/requests.js';

interface Call {
  readonly what: string;
  readonly into: Buffer | null;
  end(error?: Error): Promise<void>;
}

describe('slow requests', () => {
  let clock: FakeClock;
  let memory: SessionMemory;
  let debt: FlushDebt;
  let calls: Call[];
  let answers: Reply[];
  let failures: string[];
  let slow: SlowRequests;

  function operation(what: string, into: Buffer | null = null): Promise<void> {
    return new Promise((resolve, reject) => {
      calls.push({
        what,
        into,
        end: async (error) => {
          if (error === undefined) resolve();
          else reject(error);
          await new Promise((done) => setImmediate(done));
        },
      });
    });
  }

  function send(command: number, offsetBytes: number, lengthBytes: number, seq: number): void {
    memory.takeSlow(64);
    slow.accept(request(command, offsetBytes, lengthBytes, seq));
  }

  beforeEach(() => {
    clock = new FakeClock();
    memory = SessionMemory.create();
    debt = new FlushDebt();
    calls = [];
    answers = [];
    failures = [];
    slow = new SlowRequests({
      memory,
      debt,
      operations: {
        flush: () => operation('flush'),
        trim: (range) => operation(`trim ${range.offsetBytes}+${range.lengthBytes}`),
        writeZeroes: (range) => operation(`zero ${range.offsetBytes}+${range.lengthBytes}`),
        checksum: (range, into) => operation(`checksum ${range.offsetBytes}+${range.lengthBytes}`, into),
      },
      answer: (bytes) =>
        answers.push(...replies(bytes, (command) => (command === COMMAND.checksum ? 16 : 0))),
      failed: (_request, errno) => failures.push(errno),
      clock,
      timeoutMs: 20_000,
    });
  });

  test('a flush is answered when the disk has flushed', async () => {
    memory.setDirty();
    send(COMMAND.flush, 0, 0, 1);
    expect(answers).toEqual([]);
    await calls[0]?.end();
    expect(answers.map((answer) => [answer.seq, answer.errorNumber])).toEqual([[1, 0]]);
    expect(memory.slow).toBe(0);
    expect(memory.takeDirty()).toBe(false);
  });

  test('flushes that come during a flush share the next one, never the running one', async () => {
    send(COMMAND.flush, 0, 0, 1);
    send(COMMAND.flush, 0, 0, 2);
    send(COMMAND.write, 1_048_576, 0, 3);
    expect(calls).toHaveLength(1);
    await calls[0]?.end();
    expect(answers.map((answer) => answer.seq)).toEqual([1]);
    expect(calls).toHaveLength(2);
    await calls[1]?.end();
    expect(answers.map((answer) => answer.seq)).toEqual([1, 2, 3]);
  });

  test('a flush that comes during one that fails fails too, for it may count on the same writes', async () => {
    send(COMMAND.flush, 0, 0, 1);
    send(COMMAND.flush, 0, 0, 2);
    await calls[0]?.end(new DeviceError('DEVICE_IO', 'EIO', 'the disk failed'));
    expect(answers.map((answer) => [answer.seq, answer.errorNumber])).toEqual([
      [1, 5],
      [2, 5],
    ]);
    expect(calls).toHaveLength(1);
  });

  test('a failed flush is answered with its errno, and what it should have covered stays unflushed', async () => {
    memory.setDirty();
    send(COMMAND.flush, 0, 0, 1);
    await calls[0]?.end(new DeviceError('DEVICE_IO', 'EIO', 'the disk failed'));
    expect(answers[0]?.errorNumber).toBe(5);
    expect(failures).toEqual(['EIO']);
    expect(memory.takeDirty()).toBe(true);
  });

  test('a good flush fails with what an earlier session owed, once', async () => {
    debt.owe(new DeviceError('DEVICE_IO', 'EIO', 'the disk failed before'));
    send(COMMAND.flush, 0, 0, 1);
    await calls[0]?.end();
    expect(slow.hasFlushFailed).toBe(true);
    send(COMMAND.flush, 0, 0, 2);
    await calls[1]?.end();
    expect(answers.map((answer) => [answer.seq, answer.errorNumber])).toEqual([
      [1, 5],
      [2, 0],
    ]);
    expect(slow.hasFlushFailed).toBe(true);
  });

  test('a flush that hangs is answered with ETIMEDOUT, once', async () => {
    send(COMMAND.flush, 0, 0, 1);
    clock.advance(20_000);
    expect(answers.map((answer) => answer.errorNumber)).toEqual([60]);
    await calls[0]?.end();
    expect(answers).toHaveLength(1);
    expect(memory.slow).toBe(0);
  });

  test('a checksum is answered with its body, trim and write-zeroes without', async () => {
    send(COMMAND.checksum, 0, 131_072, 1);
    calls[0]?.into?.writeUInt32BE(0xdeadbeef, 4);
    await calls[0]?.end();
    send(COMMAND.trim, 512, 1024, 2);
    await calls[1]?.end();
    send(COMMAND.writeZeroes, 0, 4096, 3);
    await calls[2]?.end();
    expect(calls.map((call) => call.what)).toEqual(['checksum 0+131072', 'trim 512+1024', 'zero 0+4096']);
    expect(answers[0]?.body.readUInt32BE(4)).toBe(0xdeadbeef);
    expect(answers.map((answer) => answer.errorNumber)).toEqual([0, 0, 0]);
    expect(memory.takeDirty()).toBe(true);
  });

  test('only two of them run at once, and a flush waits for none', async () => {
    for (let seq = 1; seq <= 4; seq++) send(COMMAND.trim, seq * 512, 512, seq);
    send(COMMAND.flush, 0, 0, 5);
    expect(calls.map((call) => call.what)).toEqual(['trim 512+512', 'trim 1024+512', 'flush']);
    await calls[0]?.end();
    expect(calls).toHaveLength(4);
  });

  test.each([
    { what: 'trim', command: COMMAND.trim },
    { what: 'write-zeroes', command: COMMAND.writeZeroes },
  ])('a $what that hangs is late until the disk is done with it', async ({ command }) => {
    send(command, 0, 4096, 1);
    expect(memory.isAnyLate).toBe(false);
    clock.advance(20_000);
    expect(answers.map((answer) => answer.errorNumber)).toEqual([60]);
    expect(memory.isAnyLate).toBe(true);
    await calls[0]?.end();
    expect(memory.isAnyLate).toBe(false);
  });

  test('what changes nothing, or never began, is not late', async () => {
    send(COMMAND.checksum, 0, 65_536, 1);
    send(COMMAND.checksum, 0, 65_536, 2);
    for (const [seq, command] of [COMMAND.flush, COMMAND.trim].entries()) send(command, 0, 0, 3 + seq);
    clock.advance(20_000);
    expect(answers).toHaveLength(4);
    expect(memory.isAnyLate).toBe(false);
    for (const call of calls) await call.end();
    expect(memory.isAnyLate).toBe(false);
  });

  test('one that timed out before its turn is never begun', async () => {
    for (let seq = 1; seq <= 3; seq++) send(COMMAND.trim, seq * 512, 512, seq);
    clock.advance(20_000);
    expect(answers.map((answer) => answer.errorNumber)).toEqual([60, 60, 60]);
    await calls[0]?.end();
    expect(calls).toHaveLength(2);
  });
});
