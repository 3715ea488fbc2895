import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import { Features } from '../../../src/protocol/capabilities.js';
import { COMMAND, HEADER } from '../../../src/protocol/request.js';
import { Engine } from '../../../src/server/session/engine.js';
import { PHASE, SessionMemory } from '../../../src/server/session/memory.js';
import { type SendHelper, Sending, WireBroken } from '../../../src/server/session/sending.js';
import { MemorySyncDevice } from '../../support/memory-sync-device.js';
import { request } from '../../support/requests.js';
import { ScriptedWire } from '../../support/scripted-wire.js';

const MEDIA_BYTES = 4 * 1_048_576;
const LARGE_BYTES = 262_144;

/** Does at once what the sender's thread does; counts what it was given. */
class PromptHelper implements SendHelper {
  given = 0;

  constructor(
    private readonly memory: SessionMemory,
    private readonly wire: ScriptedWire,
    private readonly isThere = true,
  ) {}

  isReady(): boolean {
    if (this.isThere) this.memory.setSenderReady();
    return this.isThere;
  }

  handedOver(): void {
    this.given += 1;
    const answers = this.memory.takeAnswers();
    this.wire.write(answers, 0, answers.length);
    this.memory.sent(false);
  }
}

describe('sending', () => {
  let memory: SessionMemory;
  let wire: ScriptedWire;
  let helper: PromptHelper;
  let sending: Sending;

  beforeEach(() => {
    memory = SessionMemory.create();
    memory.move(PHASE.reading, PHASE.working);
    wire = new ScriptedWire(Buffer.alloc(0));
    helper = new PromptHelper(memory, wire);
    sending = new Sending(memory, wire, helper);
  });

  test('hands large answers over and goes on in another buffer, while the first one stays as it is', () => {
    memory.output.fill(1, 0, LARGE_BYTES);
    const first = memory.output;
    let taken: Buffer = Buffer.alloc(0);
    helper.handedOver = () => {
      taken = memory.takeAnswers();
    };
    sending.send(LARGE_BYTES, true);
    expect(memory.output).not.toBe(first);
    memory.output.fill(2, 0, LARGE_BYTES);
    expect(taken.equals(Buffer.alloc(LARGE_BYTES, 1))).toBe(true);
    expect(memory.isSending).toBe(true);
    // It has the lock until they are sent.
    expect(memory.tryLockSend()).toBe(false);
    memory.sent(false);
    expect(memory.isSending).toBe(false);
    expect(memory.tryLockSend()).toBe(true);
  });

  test.each([
    ['answers that nothing follows', { lengthBytes: LARGE_BYTES, isWorthIt: false }],
    ['small answers', { lengthBytes: 65_904, isWorthIt: true }],
  ])('sends %s by itself', (_, { lengthBytes, isWorthIt }) => {
    const { output } = memory;
    sending.send(lengthBytes, isWorthIt);
    expect([helper.given, wire.output.length]).toEqual([0, lengthBytes]);
    expect(memory.output).toBe(output);
    expect(memory.tryLockSend()).toBe(true);
  });

  test('sends by itself while the main thread waits for the lock, so that its answers are not left behind', () => {
    memory.isSendWanted = true;
    sending.send(LARGE_BYTES, true);
    expect(helper.given).toBe(0);
    memory.isSendWanted = false;
    sending.send(LARGE_BYTES, true);
    expect(helper.given).toBe(1);
  });

  test.each([
    ['the next answers', () => sending.send(100, false)],
    ['the end', () => sending.settle()],
  ])('tells at %s that the connection broke under what was handed over', (_, next) => {
    helper.handedOver = () => memory.sent(true);
    sending.send(LARGE_BYTES, true);
    expect(next).toThrow(WireBroken);
    expect(memory.tryLockSend()).toBe(true);
    expect(memory.phase).toBe(PHASE.working);
  });
});

describe('the engine with a helper that sends', () => {
  /** What the client gets, and how much of it another thread has sent. */
  function serve(input: Buffer, cuts: readonly number[], failAt: number, isThere: boolean): [Buffer, number] {
    const memory = SessionMemory.create();
    let turn = 0;
    const wire = new ScriptedWire(input, () => cuts[turn++ % cuts.length] ?? 1);
    const helper = new PromptHelper(memory, wire, isThere);
    const device = new MemorySyncDevice(MEDIA_BYTES);
    for (let at = 0; at < MEDIA_BYTES; at += 512) device.bytes.writeUInt32BE(at, at);
    let reads = 0;
    const read = device.readSync.bind(device);
    device.readSync = (...args) => {
      if (reads++ === failAt) device.failNext = 'EIO';
      read(...args);
    };
    const terms = {
      mediaSizeBytes: MEDIA_BYTES,
      sectorSizeBytes: 512,
      canRead: true,
      canWrite: true,
      features: Features.none,
    };
    const outlet = { slow: () => undefined, refused: () => undefined, failed: () => undefined };
    const sending = new Sending(memory, wire, helper);
    const engine = new Engine(memory, wire, device, terms, outlet, { look: () => false }, sending);
    expect(engine.run()).toBe('detached');
    expect(memory.tryLockSend()).toBe(true);
    return [wire.output, helper.given];
  }

  const someRequest = fc.record({
    isWrite: fc.boolean(),
    // Also past the medium's end, which is refused.
    sector: fc.integer({ min: 0, max: MEDIA_BYTES / 512 + 8 }),
    sectors: fc.oneof(fc.integer({ min: 1, max: 64 }), fc.integer({ min: 64, max: 2048 })),
  });

  test('gives the client the same bytes as without, with reads that fail among them', () => {
    fc.assert(
      fc.property(
        fc.array(someRequest, { minLength: 1, maxLength: 12 }),
        fc.array(fc.integer({ min: 100, max: 400_000 }), { minLength: 1, maxLength: 4 }),
        fc.integer({ min: 0, max: 20 }),
        (requests, cuts, failAt) => {
          const input = Buffer.concat(
            requests.map(({ isWrite, sector, sectors }, seq) => {
              const lengthBytes = (isWrite ? Math.min(sectors, 16) : sectors) * 512;
              const data = isWrite ? Buffer.alloc(lengthBytes, seq + 1) : undefined;
              return request(isWrite ? COMMAND.write : COMMAND.read, sector * 512, lengthBytes, seq, data);
            }),
          );
          const [withHelper] = serve(input, cuts, failAt, true);
          const [without] = serve(input, cuts, failAt, false);
          expect(withHelper.equals(without)).toBe(true);
        },
      ),
      { numRuns: 60 },
    );
  });

  test('hands over the answers of large reads that come together, and none of small ones', () => {
    const reads = (lengthBytes: number, count: number): Buffer =>
      Buffer.concat(
        Array.from({ length: count }, (_, seq) =>
          request(COMMAND.read, (seq * lengthBytes) % (MEDIA_BYTES / 2), lengthBytes, seq),
        ),
      );
    expect(serve(reads(131_072, 16), [1_000_000], -1, true)[1]).toBeGreaterThan(2);
    expect(serve(reads(4096, 256), [1_000_000], -1, true)[1]).toBe(0);
    expect(serve(reads(131_072, 16), [HEADER.sizeBytes], -1, true)[1]).toBe(0);
  });
});
