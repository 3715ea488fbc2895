import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { FEATURE, Features } from '../../../src/protocol/capabilities.js';
import { COMMAND, HEADER } from '../../../src/protocol/request.js';
import { DeviceSessionRig, RIG_MEDIA_BYTES } from '../../support/device-session-rig.js';
import { readTranscript, streamOf } from '../../support/transcripts.js';
import { request } from '../../support/requests.js';

const pattern = (lengthBytes: number, seed: number): Buffer =>
  Buffer.from(Uint8Array.from({ length: lengthBytes }, (_, index) => (index * 7 + seed * 13) % 256));

const someRequest = fc.record({
  command: fc.constantFrom(0, 0, 1, 1, 3, 7, COMMAND.writeZeroes, COMMAND.ping),
  sector: fc.nat(40),
  sectors: fc.nat(20),
  skew: fc.constantFrom(0, 0, 0, 0, 1),
});

type Asked = typeof someRequest extends fc.Arbitrary<infer Value> ? Value : never;

const encode = (list: readonly Asked[]): Buffer =>
  Buffer.concat(
    list.map(({ command, sector, sectors, skew }, seq) => {
      const lengthBytes = command === 3 || command === COMMAND.ping ? 0 : sectors * 512 + skew;
      const data = command === 1 ? pattern(lengthBytes, seq) : null;
      return request(command, sector * 512, lengthBytes, seq, data);
    }),
  );

const features = Features.of(FEATURE.writeZeroes, FEATURE.keepAlive);

/** Serves all of it, in pieces, and closes; resolves when the session is over. */
async function serve(input: Buffer, cuts: readonly number[]): Promise<DeviceSessionRig> {
  const rig = new DeviceSessionRig({ features });
  for (let at = 0, turn = 0; at < input.length; turn++) {
    const end = at + (cuts[turn % cuts.length] ?? input.length);
    rig.receive.deliver(input.subarray(at, end));
    at = end;
  }
  rig.receive.finish();
  await rig.settle();
  return rig;
}

/** The state that a client may count on, one request after the other, of what touches the same sectors. */
function expectedMedium(list: readonly Asked[]): Buffer {
  const medium = Buffer.alloc(RIG_MEDIA_BYTES);
  list.forEach(({ command, sector, sectors, skew }, seq) => {
    if (skew !== 0 || sectors === 0) return;
    if (command === 1) pattern(sectors * 512, seq).copy(medium, sector * 512);
    if (command === COMMAND.writeZeroes) medium.fill(0, sector * 512, (sector + sectors) * 512);
  });
  return medium;
}

describe('a session on a device', () => {
  test('answers every request once and leaves the same disk, however its input is split', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(someRequest, { maxLength: 30 }),
        fc.array(fc.integer({ min: 1, max: 9000 }), { minLength: 1 }),
        async (list, cuts) => {
          const rig = await serve(encode(list), cuts);
          const answers = await rig.answers();
          expect(answers.map(({ seq }) => seq).sort((one, other) => one - other)).toEqual(
            list.map((_, seq) => seq),
          );
          expect(rig.memory.data.equals(expectedMedium(list))).toBe(true);
          expect(rig.result).toEqual({ reason: 'detached', isFlushed: true });
        },
      ),
      { numRuns: 60 },
    );
  });

  test('survives recorded streams with bytes changed anywhere: it ends in order, and only whole writes are done', async () => {
    const recorded = streamOf(readTranscript('freebsd-newfs-mount'), 1, 'client').subarray(1059);
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(40_000), fc.integer({ min: 0, max: 255 })), { minLength: 1, maxLength: 20 }),
        fc.nat(40_000),
        fc.integer({ min: 1, max: 70_000 }),
        async (changes, length, cut) => {
          const input = Buffer.from(recorded.subarray(0, Math.max(length, 1000)));
          for (const [at, value] of changes) input[at % input.length] = value;
          const rig = await serve(input, [cut]);
          expect(rig.bugs).toEqual([]);
          expect(['detached', 'cut short']).toContain(rig.result?.reason);
          expect(rig.device.heldCount).toBe(0);
          const isWhole = (call: string): boolean => /^(read|write|flush|write-zeroes) \d+\+\d+$/.test(call);
          expect(rig.started.every(isWhole)).toBe(true);
        },
      ),
      { numRuns: 60 },
    );
  });

  test('survives any bytes, also with a device that fails and holds what it likes', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 4000 }), fc.nat(6), async (noise, commands) => {
        const input = Buffer.from(noise);
        // Pure noise is mostly an unknown command; make some of it look like requests.
        for (let at = 0; at + HEADER.sizeBytes <= input.length && at < commands * 60; at += 60)
          request(at % 4, (at % 7) * 512, 512 * (at % 3), at).copy(input, at);
        const rig = new DeviceSessionRig({ features });
        let count = 0;
        rig.device.plan = () => {
          count += 1;
          if (count % 3 === 0) return { kind: 'fail', errno: 'EIO' };
          return count % 3 === 1 ? { kind: 'hold' } : null;
        };
        rig.receive.deliver(input);
        await rig.settle();
        rig.send.destroy();
        await rig.settle();
        rig.device.plan = () => null;
        while (rig.device.heldCount > 0) {
          rig.device.release();
          await rig.settle();
        }
        expect(rig.bugs).toEqual([]);
        expect(rig.result?.reason).toBe('connection lost');
        expect(rig.clock.timerCount).toBe(0);
      }),
      { numRuns: 100 },
    );
  });
});
