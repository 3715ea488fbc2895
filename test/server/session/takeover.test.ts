import { describe, expect, test } from 'vitest';
import { Features } from '../../../src/protocol/capabilities.js';
import { COMMAND } from '../../../src/protocol/request.js';
import { PHASE, SessionMemory } from '../../../src/server/session/memory.js';
import { Takeover } from '../../../src/server/session/takeover.js';
import { type Reply, replies, request } from '../../support/requests.js';

const TERMS = {
  mediaSizeBytes: 1_048_576,
  sectorSizeBytes: 512,
  canRead: true,
  canWrite: true,
  features: Features.all,
};

/** A session whose engine sleeps in a disk call for the request that `input` begins with. */
function hanging(input: Buffer, ready: Buffer = Buffer.alloc(0)) {
  const memory = SessionMemory.create();
  input.copy(memory.input, 100);
  memory.at = 100;
  memory.have = 100 + input.length;
  ready.copy(memory.output);
  memory.outEnd = ready.length;
  memory.move(PHASE.reading, PHASE.working);
  memory.move(PHASE.working, PHASE.disk);
  const answers: Reply[] = [];
  const takeover = Takeover.begin(memory, TERMS, (bytes) => answers.push(...replies(bytes)));
  return { memory, answers, takeover };
}

/** The engine's disk call returns: it finds the phase changed and parks. Its thread is played, so nothing waits. */
function park(memory: SessionMemory): void {
  const words = new Int32Array(memory.blocks.words);
  words[2] = 1;
  expect(memory.isParked).toBe(true);
}

const chunks = (...list: Buffer[]) => {
  const rest = [...list];
  return (into: Buffer): Promise<number> => {
    const next = rest.shift();
    if (next === undefined) return Promise.resolve(0);
    next.copy(into);
    return Promise.resolve(next.length);
  };
};

describe('a takeover', () => {
  test('does not begin when the disk call has just returned', () => {
    const memory = SessionMemory.create();
    expect(Takeover.begin(memory, TERMS, () => undefined)).toBeNull();
    expect(memory.phase).toBe(PHASE.reading);
  });

  test('makes the move fail with which the engine comes back', () => {
    const { memory } = hanging(request(0, 0, 512, 1));
    expect(memory.move(PHASE.disk, PHASE.working)).toBe(false);
  });

  test('sends what was ready, then ETIMEDOUT for the request that hangs and all behind it', async () => {
    const ready = request(1, 0, 512, 7);
    const input = Buffer.concat([
      request(1, 0, 512, 8, Buffer.alloc(512, 1)),
      request(0, 512, 512, 9),
      request(COMMAND.ping, 0, 0, 10),
      request(0, 13, 512, 11),
    ]);
    const { takeover, answers } = hanging(input, ready);
    expect(await takeover?.run(chunks())).toBe('client gone');
    expect(answers.map((answer) => [answer.seq, answer.errorNumber])).toEqual([
      [7, 0],
      [8, 60],
      [9, 60],
      [10, 0],
      [11, 22],
    ]);
  });

  test('throws the payload of refused writes away across reads', async () => {
    const write = request(1, 0, 4096, 1, Buffer.alloc(4096, 1));
    const { takeover, answers } = hanging(write.subarray(0, 50));
    await takeover?.run(chunks(write.subarray(50, 60), write.subarray(60), request(0, 0, 512, 2)));
    expect(answers.map((answer) => [answer.seq, answer.errorNumber])).toEqual([
      [1, 60],
      [2, 60],
    ]);
  });

  test('gives the wire back with what came since, unanswered, when the disk is back', async () => {
    const { takeover, answers, memory } = hanging(request(0, 0, 512, 1));
    const later = Buffer.concat([request(0, 0, 512, 2), request(0, 0, 512, 3).subarray(0, 10)]);
    const end = await takeover?.run((into) => {
      park(memory);
      later.copy(into);
      return Promise.resolve(later.length);
    });
    expect(end).toBe('resumed');
    expect(answers.map((answer) => answer.seq)).toEqual([1]);
    expect(memory.phase).toBe(PHASE.working);
    expect(memory.input.subarray(memory.at, memory.have).equals(later)).toBe(true);
    expect(memory.outEnd).toBe(0);
  });

  test('leaves the memory of the write that hangs alone', async () => {
    const input = request(1, 0, 512, 1, Buffer.alloc(512, 9));
    const { takeover, memory } = hanging(input);
    await takeover?.run(chunks(request(1, 0, 4096, 2, Buffer.alloc(4096, 7))));
    expect(memory.input.subarray(100, 100 + input.length).equals(input)).toBe(true);
  });
});
