import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Pipeline } from '../../src/client/pipeline.js';
import { DeviceError } from '../../src/device/block-device.js';
import { COMMAND, encodeHeader } from '../../src/protocol/request.js';
import { FakeClock } from '../support/fake-clock.js';
import { pattern, request } from '../support/device-requests.js';

const READ_BYTES = 1024;
const LOST = new DeviceError('DEVICE_LOST', 'ECONNRESET', 'test: lost');

/** A pipeline with six requests on the wire, reads and writes in turn, and the answers of an honest server. */
async function sixInFlight() {
  const dones: number[] = [];
  const errors: (DeviceError | null)[] = [];
  const faults: Error[] = [];
  const buffers: Buffer[] = [];
  const pipeline = new Pipeline(
    {
      name: 'fuzz',
      mediaSizeBytes: 1_048_576,
      requestsMax: 16,
      bytesMax: 1_048_576,
      requestTimeoutMs: 1000,
      clock: new FakeClock(),
    },
    { broken: (error) => faults.push(error), progressed: () => undefined, idle: () => undefined },
  );
  pipeline.attach({ copiesWrites: false, write: (_parts, sent) => queueMicrotask(sent) }, Infinity);
  const answers: Buffer[] = [];
  for (let index = 0; index < 6; index++) {
    const isRead = index % 2 === 0;
    const buffer = Buffer.alloc(READ_BYTES);
    buffers.push(buffer);
    dones.push(0);
    const fields = { offsetBytes: index * READ_BYTES, lengthBytes: READ_BYTES };
    const done = (error: DeviceError | null): void => {
      dones[index] = (dones[index] ?? 0) + 1;
      errors.push(error);
    };
    pipeline.start(request({ op: isRead ? 'read' : 'write', ...fields, buffer, done }));
    const header = Buffer.alloc(23);
    encodeHeader(header, 0, { command: isRead ? COMMAND.read : COMMAND.write, ...fields }, index + 1);
    answers.push(isRead ? Buffer.concat([header, pattern(READ_BYTES, index)]) : header);
  }
  await Promise.resolve();
  await Promise.resolve();
  return { pipeline, dones, errors, faults, buffers, answers };
}

/** As a connection delivers it: never anything after the pipeline has called it broken. */
function feed(pipeline: Pipeline, faults: readonly Error[], bytes: Buffer, cuts: readonly number[]): void {
  const ends = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].sort((a, b) => a - b);
  let from = 0;
  for (const end of [...ends, bytes.length]) {
    if (faults.length > 0) return;
    const chunk = Buffer.from(bytes.subarray(from, end));
    pipeline.answers(chunk, chunk.length);
    // The receive buffer is used again at once.
    chunk.fill(0xcc);
    from = end;
  }
}

const order = fc.shuffledSubarray([0, 1, 2, 3, 4, 5], { minLength: 6 });
const cuts = fc.array(fc.nat(), { maxLength: 40 });

describe('the parser of answers', () => {
  test('understands any order and any split', async () => {
    await fc.assert(
      fc.asyncProperty(order, cuts, async (indexes, where) => {
        const { pipeline, dones, errors, faults, buffers, answers } = await sixInFlight();
        feed(
          pipeline,
          faults,
          Buffer.concat(indexes.map((index) => answers[index] ?? Buffer.alloc(0))),
          where,
        );
        expect(faults).toEqual([]);
        expect(dones).toEqual([1, 1, 1, 1, 1, 1]);
        expect(errors.every((error) => error === null)).toBe(true);
        for (const index of [0, 2, 4]) expect(buffers[index]?.equals(pattern(READ_BYTES, index))).toBe(true);
      }),
      { numRuns: 300 },
    );
  });

  test('finishes exactly what arrived whole of a stream that ends anywhere', async () => {
    await fc.assert(
      fc.asyncProperty(order, cuts, fc.nat(), async (indexes, where, length) => {
        const { pipeline, dones, faults, answers } = await sixInFlight();
        const stream = Buffer.concat(indexes.map((index) => answers[index] ?? Buffer.alloc(0)));
        const keptBytes = length % stream.length;
        feed(pipeline, faults, stream.subarray(0, keptBytes), where);
        let endBytes = 0;
        for (const index of indexes) {
          endBytes += answers[index]?.length ?? 0;
          expect(dones[index]).toBe(endBytes <= keptBytes ? 1 : 0);
        }
        expect(faults).toEqual([]);
      }),
      { numRuns: 300 },
    );
  });

  test('meets flipped bytes and noise with an end of the connection, never with a crash or a second done', async () => {
    const noise = fc.uint8Array({ maxLength: 200 });
    const flips = fc.array(fc.tuple(fc.nat(), fc.integer({ min: 1, max: 255 })), { maxLength: 8 });
    let faultCount = 0;
    await fc.assert(
      fc.asyncProperty(order, cuts, flips, noise, fc.nat(), async (indexes, where, flipped, rubbish, at) => {
        const { pipeline, dones, faults, answers } = await sixInFlight();
        const good = Buffer.concat(indexes.map((index) => answers[index] ?? Buffer.alloc(0)));
        const cut = at % good.length;
        const stream = Buffer.concat([good.subarray(0, cut), rubbish, good.subarray(cut)]);
        for (const [place, bits] of flipped) {
          const index = place % stream.length;
          stream[index] = ((stream[index] ?? 0) + bits) % 256;
        }
        feed(pipeline, faults, stream, where);
        faultCount += faults.length;
        expect(dones.every((count) => count <= 1)).toBe(true);
        expect(faults.length).toBeLessThanOrEqual(1);
        // What is left ends once, whatever was said before.
        pipeline.detach(LOST);
        pipeline.fail(LOST, () => true);
        await new Promise((resolve) => setImmediate(resolve));
        expect(dones).toEqual([1, 1, 1, 1, 1, 1]);
      }),
      { numRuns: 500 },
    );
    expect(faultCount).toBeGreaterThan(50);
  });
});
