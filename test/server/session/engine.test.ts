import fc from 'fast-check';
import { assert, describe, expect, test } from 'vitest';
import { Features } from '../../../src/protocol/capabilities.js';
import { COMMAND, HEADER, REQUEST_BYTES_MAX, type SessionTerms } from '../../../src/protocol/request.js';
import { type EndReason, Engine } from '../../../src/server/session/engine.js';
import {
  BATCH_BYTES_MIN,
  BATCH_BYTES_MIN_CROWDED,
  PHASE,
  SessionMemory,
} from '../../../src/server/session/memory.js';
import { type SendHelper, Sending } from '../../../src/server/session/sending.js';
import { MemorySyncDevice } from '../../support/memory-sync-device.js';
import { refusals } from '../../support/refusals.js';
import { type Reply, replies, request } from '../../support/requests.js';
import { ScriptedWire } from '../../support/scripted-wire.js';

const MEDIA_BYTES = 4 * 1_048_576;
const TERMS: SessionTerms = {
  mediaSizeBytes: MEDIA_BYTES,
  sectorSizeBytes: 512,
  canRead: true,
  canWrite: true,
  features: Features.none,
};

const NO_HELPER: SendHelper = { isReady: () => false, handedOver: () => assert.fail('nobody is there') };

interface Outcome {
  readonly reason: EndReason;
  readonly answers: Reply[];
  readonly sends: number;
  readonly asked: readonly number[];
  readonly places: readonly number[];
  readonly device: MemorySyncDevice;
  readonly slow: Buffer[];
  readonly refused: string[];
  readonly failed: string[];
  readonly memory: SessionMemory;
}

function serve(
  input: Buffer,
  options: {
    terms?: Partial<SessionTerms>;
    cut?: (turn: number) => number;
    early?: Buffer;
    prepare?: (device: MemorySyncDevice, memory: SessionMemory) => void;
    isCrowded?: () => boolean;
    helper?: (memory: SessionMemory, wire: ScriptedWire) => SendHelper;
  } = {},
): Outcome {
  const memory = SessionMemory.create();
  options.early?.copy(memory.input);
  memory.have = options.early?.length ?? 0;
  const wire = new ScriptedWire(input, options.cut);
  const device = new MemorySyncDevice(MEDIA_BYTES);
  const slow: Buffer[] = [];
  const refused: string[] = [];
  const failed: string[] = [];
  options.prepare?.(device, memory);
  const engine = new Engine(
    memory,
    wire,
    device,
    { ...TERMS, ...options.terms },
    {
      slow: (header) => slow.push(header),
      refused: (_request, errno) => refused.push(errno),
      failed: (_request, error) => failed.push(error.errno),
    },
    { look: options.isCrowded ?? (() => false) },
    new Sending(memory, wire, options.helper?.(memory, wire) ?? NO_HELPER),
  );
  const reason = engine.run();
  return {
    reason,
    answers: replies(wire.output),
    sends: wire.sent.length,
    asked: wire.asked,
    places: wire.places,
    device,
    slow,
    refused,
    failed,
    memory,
  };
}

const pattern = (lengthBytes: number, seed: number): Buffer =>
  Buffer.from(Uint8Array.from({ length: lengthBytes }, (_, index) => (index * 7 + seed * 13) % 256));

describe('the engine', () => {
  test('answers a write, and a read with what was written, echoing each header', () => {
    const data = pattern(4096, 3);
    const { answers, reason } = serve(
      Buffer.concat([request(COMMAND.write, 8192, 4096, 1, data), request(COMMAND.read, 8192, 4096, 2)]),
    );
    expect(answers).toMatchObject([
      { command: 1, offsetBytes: 8192, lengthBytes: 4096, seq: 1, errorNumber: 0 },
      { command: 0, offsetBytes: 8192, lengthBytes: 4096, seq: 2, errorNumber: 0 },
    ]);
    expect(answers[1]?.body.equals(data)).toBe(true);
    expect(reason).toBe('detached');
  });

  test("sends zero as the error of a success, whatever the client's error field said", () => {
    const dirty = request(COMMAND.read, 0, 512, 1);
    dirty.writeUInt16BE(77, HEADER.errorAt);
    expect(serve(dirty).answers[0]?.errorNumber).toBe(0);
  });

  test('serves what came with the handshake before it reads', () => {
    const all = request(COMMAND.write, 0, 512, 1, pattern(512, 1));
    const { answers } = serve(all.subarray(100), { early: all.subarray(0, 100) });
    expect(answers).toHaveLength(1);
  });

  test('gathers the answers to what one read delivered', () => {
    const batch = Buffer.concat(Array.from({ length: 10 }, (_, seq) => request(COMMAND.read, 0, 512, seq)));
    const { sends, answers } = serve(batch);
    expect(answers.map((answer) => answer.seq)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(sends).toBe(1);
  });

  test.each(refusals(MEDIA_BYTES))(
    'refuses $what with errno $errno and goes on',
    ({ command, offset, length, errno }) => {
      const { answers, refused, reason } = serve(
        Buffer.concat([request(command, offset, length, 1), request(COMMAND.read, 0, 512, 2)]),
      );
      expect(answers.map((answer) => answer.errorNumber)).toEqual([errno, 0]);
      expect(refused).toHaveLength(1);
      expect(reason).toBe('detached');
    },
  );

  test('refuses an offset with all bits set', () => {
    const header = request(COMMAND.read, 0, 512, 1);
    header.fill(0xff, HEADER.offsetAt, HEADER.offsetAt + 8);
    const { answers } = serve(header, {});
    expect(answers[0]?.errorNumber).toBe(22);
  });

  test.each([
    { what: 'a write to a read-only export', terms: { canWrite: false }, command: 1 },
    { what: 'a read of a write-only export', terms: { canRead: false }, command: 0 },
  ])('refuses $what with EBADF', ({ terms, command }) => {
    const payload = command === 1 ? pattern(512, 1) : null;
    const { answers, device } = serve(request(command, 0, 512, 1, payload), { terms });
    expect(answers[0]?.errorNumber).toBe(9);
    expect(device.calls).toEqual([]);
  });

  test('throws the payload of a refused write away, however it is split, and finds the next request', () => {
    const tooLong = request(COMMAND.write, 0, 3 * REQUEST_BYTES_MAX, 1, pattern(3 * REQUEST_BYTES_MAX, 5));
    const input = Buffer.concat([tooLong, request(COMMAND.read, 0, 512, 2)]);
    const { answers, device } = serve(input, { cut: (turn) => (turn % 3 === 0 ? 1 : 50_000) });
    expect(answers.map((answer) => [answer.seq, answer.errorNumber])).toEqual([
      [1, 22],
      [2, 0],
    ]);
    expect(device.calls).toEqual(['read 0+512']);
  });

  test('answers transfers of nothing at once, but takes one at the end of the medium for a flush', () => {
    const { answers, slow } = serve(
      Buffer.concat([
        request(COMMAND.write, 512, 0, 1, Buffer.alloc(0)),
        request(COMMAND.write, MEDIA_BYTES, 0, 2),
        request(COMMAND.read, MEDIA_BYTES, 0, 3),
        request(COMMAND.flush, MEDIA_BYTES, 0, 4),
        request(COMMAND.flush, 0, 0, 5),
      ]),
    );
    expect(answers.map((answer) => answer.seq)).toEqual([1]);
    expect(slow.map((header) => replies(header)[0]?.seq)).toEqual([2, 3, 4, 5]);
  });

  test('writes nothing of a write that was cut short', () => {
    const whole = request(COMMAND.write, 0, 4096, 1, pattern(4096, 1));
    for (const cutBytes of [1, 22, 23, 24, 4000, whole.length - 1]) {
      const { reason, device, answers } = serve(whole.subarray(0, cutBytes));
      expect(reason).toBe('cut short');
      expect(device.calls).toEqual([]);
      expect(answers).toEqual([]);
    }
  });

  test('does nothing while a change that was given up may still reach the disk, and goes on afterwards', () => {
    const write = request(COMMAND.write, 0, 512, 1, pattern(512, 1));
    const rest = [request(COMMAND.read, 0, 512, 2), request(COMMAND.flush, 0, 0, 3)];
    const input = Buffer.concat([write, ...rest]);
    const late = serve(input, { prepare: (_device, memory) => memory.addLate(1) });
    expect(late.answers.map(({ seq, errorNumber }) => [seq, errorNumber])).toEqual([
      [1, 60],
      [2, 60],
      [3, 60],
    ]);
    expect(late.device.calls).toEqual([]);
    expect(late.slow).toEqual([]);
    const over = serve(input, {
      prepare: (_device, memory) => {
        memory.addLate(1);
        memory.addLate(-1);
      },
    });
    expect(over.answers.map(({ errorNumber }) => errorNumber)).toEqual([0, 0]);
    expect(over.slow).toHaveLength(1);
  });

  test("answers a disk's failure with its errno, says so, and goes on", () => {
    const { answers, failed, reason, memory } = serve(
      Buffer.concat([request(COMMAND.write, 0, 512, 1, pattern(512, 1)), request(COMMAND.read, 0, 512, 2)]),
      { prepare: (device) => (device.failNext = 'ENOSPC') },
    );
    expect(answers.map((answer) => answer.errorNumber)).toEqual([28, 0]);
    expect(failed).toEqual(['ENOSPC']);
    expect(reason).toBe('detached');
    expect(memory.counters()).toMatchObject({ requests: 2, bytesWritten: 0, bytesRead: 512, errors: 1 });
  });

  test('never sends 35, which a FreeBSD kernel would repeat for ever', () => {
    const { answers } = serve(request(COMMAND.read, 0, 512, 1), {
      prepare: (device) => (device.failNext = 'EAGAIN'),
    });
    expect(answers[0]?.errorNumber).toBe(5);
  });

  test('sends no data with a failed read', () => {
    const { answers } = serve(Buffer.concat([request(0, 0, 65_536, 1), request(0, 0, 512, 2)]), {
      prepare: (device) => (device.failNext = 'EIO'),
    });
    expect(answers.map((answer) => [answer.errorNumber, answer.body.length])).toEqual([
      [5, 0],
      [0, 512],
    ]);
  });

  test('serves the longest request there is, one after another', () => {
    const data = pattern(REQUEST_BYTES_MAX, 9);
    const { answers, device } = serve(
      Buffer.concat([
        request(COMMAND.write, 0, REQUEST_BYTES_MAX, 1, data),
        request(COMMAND.write, REQUEST_BYTES_MAX, REQUEST_BYTES_MAX, 2, data),
        request(COMMAND.read, 0, REQUEST_BYTES_MAX, 3),
        request(COMMAND.read, REQUEST_BYTES_MAX, REQUEST_BYTES_MAX, 4),
      ]),
      { cut: () => 30_001 },
    );
    expect(answers.map((answer) => answer.errorNumber)).toEqual([0, 0, 0, 0]);
    expect(answers[3]?.body.equals(data)).toBe(true);
    expect(device.bytes.subarray(REQUEST_BYTES_MAX, 2 * REQUEST_BYTES_MAX).equals(data)).toBe(true);
  });

  test.each([1, 100, 4118])(
    'uses the start of its buffer again, also when %i bytes of the next request are left',
    (leftBytes) => {
      const writes = Array.from({ length: 200 }, (_, seq) =>
        request(COMMAND.write, 4096 * seq, 4096, seq, pattern(4096, seq)),
      );
      const stepBytes = 8 * (HEADER.sizeBytes + 4096);
      const { answers, places, device } = serve(Buffer.concat(writes), {
        cut: (turn) => (turn === 0 ? stepBytes + leftBytes : stepBytes),
      });
      expect(answers.map((answer) => answer.errorNumber)).toEqual(writes.map(() => 0));
      expect(Math.max(...places)).toBeLessThan(HEADER.sizeBytes + 4096 + 8);
      for (let seq = 0; seq < writes.length; seq++) {
        expect(device.bytes.subarray(4096 * seq, 4096 * (seq + 1)).equals(pattern(4096, seq))).toBe(true);
      }
    },
  );

  test('begins no request once it is told to stop, but finishes what it has', () => {
    const { reason, answers } = serve(Buffer.concat([request(0, 0, 512, 1), request(0, 0, 512, 2)]), {
      cut: () => HEADER.sizeBytes,
      prepare: (device, memory) => {
        const read = device.readSync.bind(device);
        device.readSync = (...args) => {
          memory.requestStop();
          read(...args);
        };
      },
    });
    expect(reason).toBe('stopped');
    expect(answers.map((answer) => answer.seq)).toEqual([1]);
  });

  test('ends when the connection breaks under an answer', () => {
    const memory = SessionMemory.create();
    const wire = new ScriptedWire(request(0, 0, 512, 1));
    wire.write = () => {
      throw Object.assign(new Error('broken'), { code: 'EPIPE' });
    };
    const outlet = { slow: () => undefined, refused: () => undefined, failed: () => undefined };
    const device = new MemorySyncDevice(MEDIA_BYTES);
    const sending = new Sending(memory, wire, NO_HELPER);
    const engine = new Engine(memory, wire, device, TERMS, outlet, { look: () => false }, sending);
    expect(engine.run()).toBe('connection lost');
    expect(memory.tryLockSend()).toBe(true);
    expect(memory.phase).toBe(PHASE.working);
  });

  test('asks for more at once while the processors are crowded, and for as much as before afterwards', () => {
    const answers = [true, true, false, false];
    const looks: boolean[] = [];
    const { asked, reason } = serve(
      Buffer.concat(Array.from({ length: 1000 }, (_, seq) => request(COMMAND.read, 0, 512, seq))),
      {
        cut: () => HEADER.sizeBytes,
        isCrowded: () => {
          looks.push(answers[looks.length] ?? false);
          return looks.at(-1) === true;
        },
      },
    );
    expect(reason).toBe('detached');
    expect(looks).toEqual(answers);
    expect([asked[0], asked[15], asked[16], asked[527], asked[528]]).toEqual([
      BATCH_BYTES_MIN,
      BATCH_BYTES_MIN,
      BATCH_BYTES_MIN_CROWDED,
      BATCH_BYTES_MIN_CROWDED,
      BATCH_BYTES_MIN,
    ]);
  });

  test('gives the same answers and the same disk however its input is split', () => {
    const someRequest = fc.record({
      command: fc.constantFrom(0, 0, 1, 1, 3, 7),
      sector: fc.nat(40),
      sectors: fc.nat(20),
      skew: fc.constantFrom(0, 0, 0, 0, 1),
    });
    fc.assert(
      fc.property(
        fc.array(someRequest, { maxLength: 30 }),
        fc.array(fc.integer({ min: 1, max: 9000 })),
        (list, cuts) => {
          const input = Buffer.concat(
            list.map(({ command, sector, sectors, skew }, seq) => {
              const lengthBytes = command === 3 ? 0 : sectors * 512 + skew;
              return request(
                command,
                sector * 512,
                lengthBytes,
                seq,
                command === 1 ? pattern(lengthBytes, seq) : null,
              );
            }),
          );
          const whole = serve(input);
          const split = serve(input, { cut: (turn) => cuts[turn % cuts.length] ?? 1 });
          expect(split.answers).toEqual(whole.answers);
          expect(split.device.bytes.equals(whole.device.bytes)).toBe(true);
          expect(whole.answers.length + whole.slow.length).toBe(list.length);
        },
      ),
      { numRuns: 100 },
    );
  });

  test('survives any bytes: it answers only whole requests, and the disk sees only whole writes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 4000 }), fc.nat(5), (noise, commands) => {
        const input = Buffer.from(noise);
        // Pure noise is mostly an unknown command; make some of it look like requests.
        for (let at = 0; at < input.length && at < commands * 60; at += 60) input[at] = at % 4;
        const { device, memory } = serve(input, { cut: (turn) => 1 + ((turn * 37) % 200) });
        expect(device.calls.every((call) => /^(read|write) \d+\+\d+$/.test(call))).toBe(true);
        expect(memory.phase === PHASE.reading || memory.phase === PHASE.working).toBe(true);
      }),
      { numRuns: 300 },
    );
  });
});
