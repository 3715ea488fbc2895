import { describe, expect, test } from 'vitest';
import { Pipeline, type PipelineConnection } from '../../src/client/pipeline.js';
import { DeviceError, type BlockIo } from '../../src/device/block-device.js';
import {
  COMMAND,
  HEADER,
  decodeHeader,
  encodeHeader,
  type RequestHeader,
} from '../../src/protocol/request.js';
import { viewOf } from '../../src/protocol/integers.js';
import { FakeClock } from '../support/fake-clock.js';
import { pattern, request } from '../support/device-requests.js';

const LOST = new DeviceError('DEVICE_LOST', 'ECONNRESET', 'test: lost');

/** Keeps what is written; says that it is sent when told to. */
class FakeConnection implements PipelineConnection {
  readonly copiesWrites = false;
  readonly writes: Buffer[] = [];
  readonly #unsent: (() => void)[] = [];

  constructor(private readonly sendsAtOnce = true) {}

  write(parts: readonly Buffer[], sent: () => void): void {
    this.writes.push(Buffer.concat(parts));
    if (this.sendsAtOnce) queueMicrotask(sent);
    else this.#unsent.push(sent);
  }

  sendAll(): void {
    for (const sent of this.#unsent.splice(0)) sent();
  }

  get seqs(): number[] {
    return parse(Buffer.concat(this.writes)).map(({ seq }) => seq);
  }
}

function parse(bytes: Buffer): { seq: number; command: number; offsetBytes: number; lengthBytes: number }[] {
  const found = [];
  for (let at = 0; at < bytes.length;) {
    const header = { command: 0, offsetBytes: 0, lengthBytes: 0 };
    decodeHeader(viewOf(bytes), at, header);
    found.push({ ...header, seq: Number(bytes.readBigUInt64BE(at + HEADER.seqAt)) });
    at += HEADER.sizeBytes + (header.command === COMMAND.write ? header.lengthBytes : 0);
  }
  return found;
}

interface Fixture {
  readonly pipeline: Pipeline;
  readonly clock: FakeClock;
  readonly outcomes: (DeviceError | null)[];
  readonly faults: Error[];
  readonly start: (fields: Partial<BlockIo> & Pick<BlockIo, 'op'>) => void;
  readonly answer: (seq: number, fields: RequestHeader, how?: Answer) => void;
}

interface Answer {
  readonly errorNumber?: number;
  readonly body?: Buffer;
}

function fixture(settings: { requestsMax?: number; bytesMax?: number } = {}): Fixture {
  const clock = new FakeClock();
  const outcomes: (DeviceError | null)[] = [];
  const faults: Error[] = [];
  const pipeline = new Pipeline(
    {
      name: 'test',
      mediaSizeBytes: 1_048_576,
      requestsMax: 16,
      bytesMax: 1_048_576,
      requestTimeoutMs: 1000,
      clock,
      ...settings,
    },
    { broken: (error) => faults.push(error), progressed: () => undefined, idle: () => undefined },
  );
  return {
    pipeline,
    clock,
    outcomes,
    faults,
    start: (fields) => pipeline.start(request({ done: (error) => outcomes.push(error), ...fields })),
    answer: (seq, fields, how = {}) => {
      const header = Buffer.alloc(HEADER.sizeBytes);
      encodeHeader(header, 0, fields, seq);
      header.writeUInt16BE(how.errorNumber ?? 0, HEADER.errorAt);
      const bytes = Buffer.concat([header, how.body ?? Buffer.alloc(0)]);
      pipeline.answers(bytes, bytes.length);
    },
  };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const write = (offsetBytes: number, lengthBytes = 512, seed = 1) =>
  ({ op: 'write', offsetBytes, lengthBytes, buffer: pattern(lengthBytes, seed) }) as const;
const written = (offsetBytes: number, lengthBytes = 512) => ({
  command: COMMAND.write,
  offsetBytes,
  lengthBytes,
});

describe('the data path', () => {
  test('sends all that one turn starts with one write, numbered from 1 and in order', async () => {
    const { pipeline, start } = fixture();
    const connection = new FakeConnection();
    pipeline.attach(connection, Infinity);
    for (let index = 0; index < 10; index++) start(write(index * 512));
    await turn();
    expect(connection.writes).toHaveLength(1);
    expect(connection.seqs).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  });

  test.each([512, 16_384, 131_072])(
    'a payload of %i bytes arrives whole and stays as it is',
    async (lengthBytes) => {
      const { pipeline, start } = fixture();
      const connection = new FakeConnection();
      pipeline.attach(connection, Infinity);
      const buffer = Buffer.concat([Buffer.alloc(7), pattern(lengthBytes, 3), Buffer.alloc(5)]);
      const before = Buffer.from(buffer);
      start({ op: 'write', lengthBytes, buffer, bufferAt: 7 });
      start(write(512));
      await turn();
      const sent = Buffer.concat(connection.writes);
      expect(sent.subarray(23, 23 + lengthBytes).equals(pattern(lengthBytes, 3))).toBe(true);
      expect(connection.seqs).toEqual([1, 2]);
      expect(buffer.equals(before)).toBe(true);
    },
  );

  test('many small payloads fill several buffers, and not one byte is mixed up', async () => {
    const { pipeline, start } = fixture({ requestsMax: 256, bytesMax: 16_777_216 });
    const connection = new FakeConnection(false);
    pipeline.attach(connection, Infinity);
    for (let round = 0; round < 4; round++) {
      for (let index = 0; index < 60; index++) start(write(0, 8192, round * 60 + index));
      await turn();
    }
    const sent = Buffer.concat(connection.writes);
    for (let index = 0; index < 240; index++) {
      const at = index * (23 + 8192) + 23;
      expect(sent.subarray(at, at + 8192).equals(pattern(8192, index))).toBe(true);
    }
  });

  test('no byte that is still to be sent is written over, in whatever order sends end', async () => {
    const { pipeline, start } = fixture({ requestsMax: 1000, bytesMax: 16_777_216 });
    const lent: { readonly parts: readonly Buffer[]; readonly sent: () => void }[] = [];
    const kept: Buffer[] = [];
    const sendOldest = (): void => {
      const oldest = lent.shift();
      if (oldest === undefined) return;
      kept.push(Buffer.concat(oldest.parts));
      oldest.sent();
    };
    pipeline.attach({ copiesWrites: false, write: (parts, sent) => lent.push({ parts, sent }) }, Infinity);
    for (let index = 0; index < 300; index++) {
      start(write(0, 8192, index));
      await turn();
      // The kernel lags behind by up to fifty writes, which is more than one buffer.
      if (index % 50 > 25) sendOldest();
      if (index % 50 > 25) sendOldest();
    }
    while (lent.length > 0) sendOldest();
    expect(kept).toHaveLength(300);
    expect(kept.every((bytes, index) => bytes.subarray(23).equals(pattern(8192, index)))).toBe(true);
  });

  test('has no more requests in flight than the window, and lets the next in for each answer', async () => {
    const { pipeline, start, answer, outcomes } = fixture({ requestsMax: 4 });
    const connection = new FakeConnection();
    pipeline.attach(connection, Infinity);
    for (let index = 0; index < 6; index++) start(write(index * 512));
    await turn();
    expect(connection.seqs).toEqual([1, 2, 3, 4]);
    answer(2, written(512));
    await turn();
    expect(connection.seqs).toEqual([1, 2, 3, 4, 5]);
    expect(outcomes).toEqual([null]);
  });

  test('the window counts bytes, too, and the smaller of both sides counts', async () => {
    const { pipeline, start } = fixture({ bytesMax: 65_536 });
    const connection = new FakeConnection();
    pipeline.attach(connection, 3);
    for (let index = 0; index < 3; index++) start(write(0, 32_768));
    for (let index = 0; index < 3; index++)
      start({ op: 'read', lengthBytes: 512, buffer: Buffer.alloc(512) });
    await turn();
    expect(connection.seqs).toEqual([1, 2]);
    const other = new FakeConnection();
    const few = fixture();
    few.pipeline.attach(other, 3);
    for (let index = 0; index < 5; index++) few.start(write(index * 512));
    await turn();
    expect(other.seqs).toEqual([1, 2, 3]);
  });

  test('one request that stays unanswered does not let the numbers run away without bound', async () => {
    const { pipeline, start, answer } = fixture({ requestsMax: 2 });
    const connection = new FakeConnection();
    pipeline.attach(connection, Infinity);
    start(write(0));
    for (let seq = 2; seq <= 2000; seq++) {
      start(write(512));
      await turn();
      if (connection.seqs.at(-1) !== seq) break;
      answer(seq, written(512));
    }
    expect(connection.seqs.length).toBeLessThanOrEqual(1024);
    answer(1, written(0));
    await turn();
    expect(connection.seqs.length).toBeGreaterThan(1000);
  });

  test('a flush that fails fails all that were asked for before that was known, sent or not', async () => {
    const { pipeline, outcomes, start, answer } = fixture({ requestsMax: 2 });
    pipeline.attach(new FakeConnection(), Infinity);
    for (let count = 0; count < 3; count++) start({ op: 'flush', lengthBytes: 0, buffer: null });
    await turn();
    const flush = { command: COMMAND.flush, offsetBytes: 1_048_576, lengthBytes: 0 };
    answer(1, flush, { errorNumber: 5 });
    answer(2, flush);
    start({ op: 'flush', lengthBytes: 0, buffer: null });
    await turn();
    answer(3, flush);
    expect(outcomes.map((error) => error?.errno ?? null)).toEqual(['EIO', 'EIO', 'EIO', null]);
  });

  test('a read is filled where it was asked for, however its answer is cut', async () => {
    const { pipeline, start, outcomes } = fixture();
    pipeline.attach(new FakeConnection(), Infinity);
    const buffer = Buffer.alloc(2048, 0xee);
    start({ op: 'read', offsetBytes: 1024, lengthBytes: 1024, buffer, bufferAt: 9 });
    await turn();
    const answer = Buffer.alloc(23 + 1024);
    encodeHeader(answer, 0, { command: COMMAND.read, offsetBytes: 1024, lengthBytes: 1024 }, 1);
    pattern(1024, 5).copy(answer, 23);
    for (const byte of answer) {
      expect(outcomes).toEqual([]);
      pipeline.answers(Buffer.from([byte]), 1);
    }
    expect(outcomes).toEqual([null]);
    expect(buffer.subarray(9, 9 + 1024).equals(pattern(1024, 5))).toBe(true);
    expect(buffer.subarray(0, 9).every((byte) => byte === 0xee)).toBe(true);
    expect(buffer.subarray(9 + 1024).every((byte) => byte === 0xee)).toBe(true);
  });

  test("an errno of the server becomes the caller's, no data follows it, and the session lives on", async () => {
    const { pipeline, start, answer, outcomes, faults } = fixture();
    pipeline.attach(new FakeConnection(), Infinity);
    start({ op: 'read', lengthBytes: 512, buffer: Buffer.alloc(512) });
    start(write(512));
    await turn();
    answer(1, { command: COMMAND.read, offsetBytes: 0, lengthBytes: 512 }, { errorNumber: 45 });
    answer(2, written(512), { errorNumber: 28 });
    expect(outcomes.map((error) => [error?.code, error?.errno])).toEqual([
      ['DEVICE_IO', 'EOPNOTSUPP'],
      ['DEVICE_IO', 'ENOSPC'],
    ]);
    expect(faults).toEqual([]);
    expect(pipeline.stats).toMatchObject({ requests: 2, errors: 2, writtenBytes: 0 });
  });

  test.each([
    { what: 'a number that was never sent', seq: 7, fields: written(0) },
    { what: 'number 0', seq: 0, fields: written(0) },
    { what: 'a number beyond exact numbers', seq: 2 ** 53 - 1, fields: written(0) },
    { what: 'another command', seq: 1, fields: { ...written(0), command: COMMAND.read } },
    { what: 'another offset', seq: 1, fields: written(512) },
    { what: 'another length', seq: 1, fields: written(0, 1024) },
  ])('an answer with $what ends the connection and finishes nothing', async ({ seq, fields }) => {
    const { pipeline, start, answer, outcomes, faults } = fixture();
    pipeline.attach(new FakeConnection(), Infinity);
    start(write(0));
    await turn();
    answer(seq, fields);
    expect(faults).toHaveLength(1);
    expect(outcomes).toEqual([]);
  });

  test('a second answer to one request ends the connection', async () => {
    const { pipeline, start, answer, outcomes, faults } = fixture();
    pipeline.attach(new FakeConnection(), Infinity);
    start(write(0));
    await turn();
    answer(1, written(0));
    answer(1, written(0));
    expect(outcomes).toEqual([null]);
    expect(faults).toHaveLength(1);
  });

  test.each([
    { what: 'acknowledged', errorNumber: 0, outcome: undefined },
    { what: 'refused', errorNumber: 22, outcome: 'EINVAL' },
  ])(
    'a write $what before its sending is told of stays lent until it is',
    async ({ errorNumber, outcome }) => {
      const { pipeline, start, answer, outcomes, faults } = fixture();
      const connection = new FakeConnection(false);
      pipeline.attach(connection, Infinity);
      // One call to the kernel takes both, and the server answers the first while the second is on its way.
      start(write(0, 131_072));
      start(write(131_072, 131_072));
      await turn();
      answer(1, written(0, 131_072), { errorNumber });
      await turn();
      expect(outcomes).toEqual([]);
      connection.sendAll();
      expect(outcomes.map((error) => error?.errno)).toEqual([outcome]);
      answer(2, written(131_072, 131_072));
      expect(outcomes).toHaveLength(2);
      expect(faults).toEqual([]);
    },
  );

  test('a second answer to a write that is still lent ends the connection', async () => {
    const { pipeline, start, answer, outcomes, faults } = fixture();
    pipeline.attach(new FakeConnection(false), Infinity);
    start(write(0));
    await turn();
    answer(1, written(0));
    answer(1, written(0));
    expect(faults).toHaveLength(1);
    expect(outcomes).toEqual([]);
  });

  test('a write acknowledged while it was still lent is sent again when the connection ends before', async () => {
    const { pipeline, start, answer, outcomes } = fixture();
    pipeline.attach(new FakeConnection(false), Infinity);
    start(write(0));
    await turn();
    answer(1, written(0));
    pipeline.detach(new DeviceError('DEVICE_LOST', 'ECONNRESET', 'lost'));
    await turn();
    expect(outcomes).toEqual([]);
    pipeline.attach(new FakeConnection(), Infinity);
    await turn();
    answer(1, written(0));
    expect(outcomes).toEqual([null]);
  });

  test("a request's time runs from its sending, or from the answer before it", async () => {
    const { pipeline, start, answer, clock, faults } = fixture();
    pipeline.attach(new FakeConnection(), Infinity);
    clock.advance(5000);
    start(write(0));
    start(write(512));
    await turn();
    clock.advance(900);
    answer(1, written(0));
    clock.advance(900);
    expect(faults).toEqual([]);
    clock.advance(100);
    expect(faults).toMatchObject([{ code: 'DEVICE_TIMEOUT', errno: 'ETIMEDOUT' }]);
  });

  test('nothing is timed while nothing is in flight', async () => {
    const { pipeline, start, answer, clock, faults } = fixture();
    pipeline.attach(new FakeConnection(), Infinity);
    start(write(0));
    await turn();
    answer(1, written(0));
    clock.advance(100_000);
    expect(faults).toEqual([]);
    expect(clock.timerCount).toBe(0);
  });

  test('replays what is unanswered in its order and with its numbers, ahead of what is newer', async () => {
    const { pipeline, start, answer, outcomes } = fixture({ requestsMax: 3 });
    pipeline.attach(new FakeConnection(), Infinity);
    for (let index = 0; index < 5; index++) start(write(index * 512));
    await turn();
    answer(2, written(512));
    await turn();
    pipeline.detach(LOST);
    start(write(5 * 512));
    const next = new FakeConnection();
    pipeline.attach(next, Infinity);
    await turn();
    expect(next.seqs).toEqual([1, 3, 4]);
    expect(parse(Buffer.concat(next.writes)).map(({ offsetBytes }) => offsetBytes)).toEqual([0, 1024, 1536]);
    answer(1, written(0));
    answer(3, written(1024));
    answer(4, written(1536));
    await turn();
    expect(next.seqs).toEqual([1, 3, 4, 5, 6]);
    expect(outcomes).toEqual([null, null, null, null]);
    expect(pipeline.stats.replayed).toBe(3);
  });

  test('an answer that the connection before had promised is unknown to the next until it is asked again', async () => {
    const { pipeline, start, answer, outcomes, faults } = fixture();
    pipeline.attach(new FakeConnection(), Infinity);
    start(write(0));
    await turn();
    pipeline.detach(LOST);
    pipeline.attach(new FakeConnection(), Infinity);
    // The next connection has not sent it yet.
    answer(1, written(0));
    expect(faults).toHaveLength(1);
    expect(outcomes).toEqual([]);
  });

  test('a read cut in the middle of its data is read again from its start', async () => {
    const { pipeline, start, answer, outcomes } = fixture();
    pipeline.attach(new FakeConnection(), Infinity);
    const buffer = Buffer.alloc(1024);
    start({ op: 'read', lengthBytes: 1024, buffer });
    await turn();
    const fields = { command: COMMAND.read, offsetBytes: 0, lengthBytes: 1024 };
    answer(1, fields, { body: Buffer.alloc(500, 0xaa) });
    pipeline.detach(LOST);
    pipeline.attach(new FakeConnection(), Infinity);
    await turn();
    answer(1, fields, { body: pattern(1024, 8) });
    expect(outcomes).toEqual([null]);
    expect(buffer.equals(pattern(1024, 8))).toBe(true);
  });
});
