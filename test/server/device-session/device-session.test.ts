import { describe, expect, test } from 'vitest';
import { FEATURE, Features } from '../../../src/protocol/capabilities.js';
import { checksumRegions } from '../../../src/protocol/region-checksums.js';
import { COMMAND, HEADER, REQUEST_BYTES_MAX } from '../../../src/protocol/request.js';
import { WINDOW_BYTES_MAX, WINDOW_REQUESTS_MAX } from '../../../src/server/stream/limits.js';
import { DeviceSessionRig, RIG_MEDIA_BYTES } from '../../support/device-session-rig.js';
import { MemoryDevice } from '../../support/memory-device.js';
import { refusals } from '../../support/refusals.js';
import { request } from '../../support/requests.js';

const pattern = (lengthBytes: number, seed: number): Buffer =>
  Buffer.from(Uint8Array.from({ length: lengthBytes }, (_, index) => (index * 7 + seed * 13) % 256));

const write = (offsetBytes: number, data: Buffer, seq: number): Buffer =>
  request(COMMAND.write, offsetBytes, data.length, seq, data);
const read = (offsetBytes: number, lengthBytes: number, seq: number): Buffer =>
  request(COMMAND.read, offsetBytes, lengthBytes, seq);

describe('a session on a block device', () => {
  test('answers a write, and a read behind it with what was written, echoing each header', async () => {
    const rig = new DeviceSessionRig();
    const data = pattern(4096, 3);
    rig.deliver(write(8192, data, 1), read(8192, 4096, 2));
    const answers = await rig.answers();
    expect(answers).toMatchObject([
      { command: 1, offsetBytes: 8192, lengthBytes: 4096, seq: 1, errorNumber: 0 },
      { command: 0, offsetBytes: 8192, lengthBytes: 4096, seq: 2, errorNumber: 0 },
    ]);
    expect(answers[1]?.body.equals(data)).toBe(true);
    expect(rig.session.counters).toEqual({ requests: 2, bytesRead: 4096, bytesWritten: 4096, errors: 0 });
  });

  test("sends zero as the error of a success, whatever the client's error field said", async () => {
    const rig = new DeviceSessionRig();
    const dirty = read(0, 512, 1);
    dirty.writeUInt16BE(77, HEADER.errorAt);
    rig.deliver(dirty);
    expect((await rig.answers())[0]?.errorNumber).toBe(0);
  });

  test('answers what one delivery brought with one write to the socket', async () => {
    const rig = new DeviceSessionRig();
    rig.deliver(...Array.from({ length: 10 }, (_, seq) => read(seq * 512, 512, seq)));
    expect(await rig.answers()).toHaveLength(10);
    expect(rig.send.sends).toHaveLength(1);
  });

  test('answers a flood of what it refuses with one write to the socket, too', async () => {
    const rig = new DeviceSessionRig();
    rig.deliver(...Array.from({ length: 100 }, (_, seq) => read(1, 512, seq)));
    expect(await rig.answers()).toHaveLength(100);
    expect(rig.send.sends).toHaveLength(1);
  });

  test.each(refusals(RIG_MEDIA_BYTES))(
    'refuses $what with errno $errno and goes on',
    async ({ command, offset, length, errno }) => {
      const rig = new DeviceSessionRig();
      rig.deliver(request(command, offset, length, 1), read(0, 512, 2));
      const answers = await rig.answers();
      expect(answers.map((answer) => [answer.seq, answer.errorNumber]).sort()).toEqual([
        [1, errno],
        [2, 0],
      ]);
      expect(rig.refused).toHaveLength(1);
    },
  );

  test('refuses an offset with all bits set, and echoes it', async () => {
    const rig = new DeviceSessionRig();
    const header = read(0, 512, 1);
    header.fill(0xff, HEADER.offsetAt, HEADER.offsetAt + 8);
    rig.deliver(header);
    expect((await rig.answers())[0]?.errorNumber).toBe(22);
    expect(rig.send.output.subarray(0, HEADER.errorAt).equals(header.subarray(0, HEADER.errorAt))).toBe(true);
  });

  test.each([
    { what: 'a write to a read-only export', access: 'ro' as const, command: COMMAND.write },
    { what: 'a read of a write-only export', access: 'wo' as const, command: COMMAND.read },
  ])('refuses $what with EBADF', async ({ access, command }) => {
    const rig = new DeviceSessionRig({ access });
    rig.deliver(request(command, 0, 512, 1, command === COMMAND.write ? pattern(512, 1) : null));
    expect((await rig.answers())[0]?.errorNumber).toBe(9);
    expect(rig.started).toEqual([]);
  });

  test('throws the payload of a refused write away, however it is split, and finds the next request', async () => {
    const rig = new DeviceSessionRig();
    const lengthBytes = 3 * REQUEST_BYTES_MAX;
    const input = Buffer.concat([write(0, pattern(lengthBytes, 5), 1), read(0, 512, 2)]);
    for (let at = 0, turn = 0; at < input.length; turn++) {
      const end = at + (turn % 3 === 0 ? 1 : 50_000);
      rig.deliver(input.subarray(at, end));
      at = end;
    }
    const answers = await rig.answers();
    expect(answers.map((answer) => [answer.seq, answer.errorNumber])).toEqual([
      [1, 22],
      [2, 0],
    ]);
    expect(rig.started).toEqual(['read 0+512']);
  });

  test('answers transfers of nothing at once, but takes one at the end of the medium for a flush', async () => {
    const rig = new DeviceSessionRig();
    rig.device.plan = ({ op }) => (op === 'flush' ? { kind: 'hold' } : null);
    rig.deliver(
      request(COMMAND.write, 512, 0, 1),
      request(COMMAND.write, RIG_MEDIA_BYTES, 0, 2),
      request(COMMAND.read, RIG_MEDIA_BYTES, 0, 3),
      request(COMMAND.flush, RIG_MEDIA_BYTES, 0, 4),
      request(COMMAND.flush, 0, 0, 5),
    );
    expect((await rig.answers()).map(({ seq }) => seq)).toEqual([1]);
    rig.device.plan = () => null;
    rig.device.release();
    const answers = await rig.answers();
    expect(rig.started).toEqual(['flush 0+0', 'flush 0+0']);
    expect(answers.map(({ seq, errorNumber }) => [seq, errorNumber]).sort()).toEqual([
      [1, 0],
      [2, 0],
      [3, 0],
      [4, 0],
      [5, 0],
    ]);
  });

  test('refuses a flush, hidden or not, that its device has no way to do', async () => {
    const rig = new DeviceSessionRig({
      on: new MemoryDevice({ mediaSizeBytes: RIG_MEDIA_BYTES, can: { flush: false } }),
    });
    rig.deliver(request(COMMAND.write, RIG_MEDIA_BYTES, 0, 1), request(COMMAND.flush, 0, 0, 2));
    expect((await rig.answers()).map(({ errorNumber }) => errorNumber)).toEqual([45, 45]);
  });

  test.each([
    { who: 'a kernel', features: [], errorNumber: 5 },
    { who: 'a client of ours', features: [FEATURE.flush], errorNumber: 45 },
  ])('tells $who of a flush that a mirror has nobody to do', async ({ features, errorNumber }) => {
    const rig = new DeviceSessionRig({ features: Features.of(...features) });
    rig.device.plan = ({ op }) => (op === 'flush' ? { kind: 'fail', errno: 'EOPNOTSUPP' } : null);
    rig.deliver(request(COMMAND.write, RIG_MEDIA_BYTES, 0, 1), request(COMMAND.flush, 0, 0, 2));
    expect((await rig.answers()).map((answer) => answer.errorNumber)).toEqual([errorNumber, errorNumber]);
  });

  test('writes nothing of a write that was cut short', async () => {
    const whole = write(0, pattern(4096, 1), 1);
    for (const cutBytes of [1, 22, 23, 24, 4000, whole.length - 1]) {
      const rig = new DeviceSessionRig();
      rig.deliver(whole.subarray(0, cutBytes));
      rig.receive.finish();
      await rig.settle();
      expect(rig.result?.reason).toBe('cut short');
      expect(rig.started).toEqual([]);
      expect(rig.send.output).toHaveLength(0);
    }
  });

  test("answers a device's failure with its errno and without data, says so, and goes on", async () => {
    const rig = new DeviceSessionRig();
    rig.device.plan = ({ offsetBytes }) => (offsetBytes === 0 ? { kind: 'fail', errno: 'ENOSPC' } : null);
    rig.deliver(write(0, pattern(512, 1), 1), read(0, 65_536, 2), read(65_536, 512, 3));
    const answers = await rig.answers();
    expect(answers.map(({ seq, errorNumber, body }) => [seq, errorNumber, body.length]).sort()).toEqual([
      [1, 28, 0],
      [2, 28, 0],
      [3, 0, 512],
    ]);
    expect(rig.failed).toHaveLength(2);
    expect(rig.session.counters).toEqual({ requests: 3, bytesRead: 512, bytesWritten: 0, errors: 2 });
  });

  test('never sends 35, which a FreeBSD kernel would repeat for ever', async () => {
    const rig = new DeviceSessionRig();
    rig.device.plan = () => ({ kind: 'fail', errno: 'EAGAIN' });
    rig.deliver(read(0, 512, 1));
    expect((await rig.answers())[0]?.errorNumber).toBe(5);
  });

  test('serves the commands of a client with a hello, those in force and no others', async () => {
    const features = Features.of(FEATURE.writeZeroes, FEATURE.checksum, FEATURE.keepAlive);
    const rig = new DeviceSessionRig({ features });
    rig.memory.data.fill(7);
    rig.deliver(
      request(COMMAND.writeZeroes, 0, 4096, 1),
      request(COMMAND.checksum, 0, 131_072, 2),
      request(COMMAND.ping, 0, 0, 3),
      request(COMMAND.trim, 0, 4096, 4),
    );
    const answers = await rig.answers((command, lengthBytes) =>
      command === COMMAND.checksum ? (lengthBytes / 65_536) * 8 : 0,
    );
    const bySeq = new Map(answers.map((answer) => [answer.seq, answer]));
    expect([1, 2, 3, 4].map((seq) => bySeq.get(seq)?.errorNumber)).toEqual([0, 0, 0, 45]);
    const sums = Buffer.alloc(16);
    checksumRegions(rig.memory.data.subarray(0, 131_072), sums, 0);
    expect(bySeq.get(2)?.body.equals(sums)).toBe(true);
    expect(rig.memory.data.subarray(0, 4097).every((byte, at) => byte === (at < 4096 ? 0 : 7))).toBe(true);
  });
});

describe('order and limits of a session on a block device', () => {
  test.each([
    { what: 'a read after a write', first: write(0, pattern(4096, 1), 1), then: read(2048, 4096, 2) },
    { what: 'a write after a read', first: read(2048, 4096, 1), then: write(0, pattern(4096, 1), 2) },
    {
      what: 'a write after a write',
      first: write(0, pattern(4096, 1), 1),
      then: write(512, pattern(512, 2), 2),
    },
  ])('$what of the same sectors reaches the device when that is done', async ({ first, then }) => {
    const rig = new DeviceSessionRig();
    let isHeld = true;
    rig.device.plan = () => (isHeld ? { kind: 'hold' } : null);
    rig.deliver(first, then, read(1_048_576, 512, 3));
    await rig.settle();
    expect(rig.started).toHaveLength(1);
    isHeld = false;
    rig.device.release();
    expect((await rig.answers()).map(({ seq, errorNumber }) => [seq, errorNumber]).sort()).toEqual([
      [1, 0],
      [2, 0],
      [3, 0],
    ]);
    expect(rig.started).toHaveLength(3);
  });

  test('requests that have nothing in common, and reads of the same sectors, are at the device together', async () => {
    const rig = new DeviceSessionRig();
    rig.device.plan = () => ({ kind: 'hold' });
    rig.deliver(
      read(0, 4096, 1),
      read(0, 4096, 2),
      write(4096, pattern(512, 1), 3),
      request(COMMAND.flush, 0, 0, 4),
    );
    await rig.settle();
    expect(rig.device.heldCount).toBe(4);
  });

  test('answers come as they are ready, in any order', async () => {
    const rig = new DeviceSessionRig();
    rig.device.plan = ({ offsetBytes }) => (offsetBytes === 0 ? { kind: 'hold' } : null);
    rig.deliver(read(0, 512, 1), read(512, 512, 2));
    expect((await rig.answers()).map(({ seq }) => seq)).toEqual([2]);
    rig.device.release();
    expect((await rig.answers()).map(({ seq }) => seq)).toEqual([2, 1]);
  });

  test('no more than its window reaches a device that does not answer, and the client is held back', async () => {
    const rig = new DeviceSessionRig();
    rig.device.plan = () => ({ kind: 'hold' });
    const count = WINDOW_REQUESTS_MAX + 50;
    rig.deliver(...Array.from({ length: count }, (_, seq) => read(seq * 512, 512, seq)));
    rig.deliver(read(0, 512, count));
    await rig.settle();
    expect(rig.device.heldCount).toBe(WINDOW_REQUESTS_MAX);
    expect(rig.receive.isPaused).toBe(true);
    expect(rig.receive.waitingCount).toBe(1);
    rig.device.plan = () => null;
    rig.device.release();
    expect(await rig.answers()).toHaveLength(count + 1);
    expect(rig.receive.isPaused).toBe(false);
  });

  test('no more bytes than its window wait for a client that takes no answers', async () => {
    const rig = new DeviceSessionRig();
    rig.send.isSlow = true;
    const count = WINDOW_BYTES_MAX / REQUEST_BYTES_MAX + 8;
    for (let seq = 0; seq < count; seq++) rig.deliver(read(0, REQUEST_BYTES_MAX, seq));
    await rig.settle();
    expect(rig.started).toHaveLength(WINDOW_BYTES_MAX / REQUEST_BYTES_MAX);
    expect(rig.receive.isPaused).toBe(true);
    for (let round = 0; round < count; round++) {
      rig.send.take();
      await rig.settle();
    }
    expect(await rig.answers()).toHaveLength(count);
  });

  test('a device that is silent too long costs its requests and those that follow ETIMEDOUT, until it answers', async () => {
    const rig = new DeviceSessionRig({ features: Features.all });
    rig.device.plan = ({ offsetBytes }) => (offsetBytes === 0 ? { kind: 'hold' } : null);
    rig.deliver(write(0, pattern(512, 1), 1), read(0, 512, 2));
    await rig.settle();
    rig.clock.advance(21_000);
    rig.deliver(read(4096, 512, 3), request(COMMAND.ping, 0, 0, 4));
    expect((await rig.answers()).map(({ seq, errorNumber }) => [seq, errorNumber]).sort()).toEqual([
      [1, 60],
      [2, 60],
      [3, 60],
      [4, 0],
    ]);
    expect(rig.started).toEqual(['write 0+512']);
    rig.device.release();
    await rig.settle();
    rig.deliver(read(4096, 512, 5));
    expect((await rig.answers()).at(-1)).toMatchObject({ seq: 5, errorNumber: 0 });
  });

  test('a device is not silent for what this program stood still for', async () => {
    const rig = new DeviceSessionRig();
    rig.device.plan = () => ({ kind: 'hold' });
    rig.deliver(write(0, pattern(512, 1), 1));
    await rig.settle();
    rig.clock.advance(15_000);
    rig.clock.standStill(3_600_000);
    rig.clock.advance(4000);
    expect(await rig.answers()).toEqual([]);
    rig.clock.advance(2000);
    expect(await rig.answers()).toMatchObject([{ seq: 1, errorNumber: 60 }]);
    rig.device.release();
  });

  test('a device that is silent too long fails each flush once, those that wait too, and the next one is served', async () => {
    const rig = new DeviceSessionRig({ features: Features.all });
    rig.device.plan = () => ({ kind: 'hold' });
    const flush = (seq: number): Buffer => request(COMMAND.flush, 0, 0, seq);
    rig.deliver(flush(1), flush(2), flush(3));
    await rig.settle();
    rig.clock.advance(21_000);
    const silent = [1, 2, 3].map((seq) => [seq, 60]);
    expect((await rig.answers()).map(({ seq, errorNumber }) => [seq, errorNumber])).toEqual(silent);
    rig.device.plan = () => null;
    rig.device.release();
    await rig.settle();
    rig.deliver(flush(4));
    const answers = (await rig.answers()).map(({ seq, errorNumber }) => [seq, errorNumber]);
    expect(answers).toEqual([...silent, [4, 0]]);
    expect(rig.started).toEqual(['flush 0+0', 'flush 0+0']);
  });

  test('flushes that come while one runs share the next one; each is answered', async () => {
    const rig = new DeviceSessionRig({ features: Features.all });
    rig.device.plan = () => ({ kind: 'hold' });
    rig.deliver(...[1, 2, 3].map((seq) => request(COMMAND.flush, 0, 0, seq)));
    await rig.settle();
    expect(rig.device.heldCount).toBe(1);
    rig.device.release();
    expect((await rig.answers()).map(({ seq }) => seq)).toEqual([1]);
    rig.device.release();
    expect((await rig.answers()).map(({ seq }) => seq)).toEqual([1, 2, 3]);
    expect(rig.started).toHaveLength(2);
  });
});

describe('the end of a session on a block device', () => {
  test('comes when the client closes, after what it sent is answered and flushed', async () => {
    const rig = new DeviceSessionRig();
    rig.device.plan = ({ op }) => (op === 'write' ? { kind: 'hold' } : null);
    rig.deliver(write(0, pattern(512, 1), 1));
    rig.receive.finish();
    await rig.settle();
    expect(rig.reason).toBe('detached');
    expect(rig.result).toBeNull();
    rig.device.release();
    expect((await rig.answers()).map(({ errorNumber }) => errorNumber)).toEqual([0]);
    expect(rig.started).toEqual(['write 0+512', 'flush 0+0']);
    expect(rig.result).toEqual({ reason: 'detached', isFlushed: true });
    expect([rig.send.hasEnded, rig.receive.hasEnded]).toEqual([true, true]);
    rig.clock.advance(5000);
    expect([rig.send.destroyed, rig.receive.destroyed]).toEqual([true, true]);
    expect(rig.clock.timerCount).toBe(0);
  });

  test('comes with all that has come when the client closes while it is held back', async () => {
    const rig = new DeviceSessionRig();
    rig.device.plan = () => ({ kind: 'hold' });
    rig.deliver(...Array.from({ length: WINDOW_REQUESTS_MAX + 5 }, (_, seq) => read(seq * 512, 512, seq)));
    rig.receive.emit('end');
    await rig.settle();
    rig.device.plan = () => null;
    rig.device.release();
    expect(await rig.answers()).toHaveLength(WINDOW_REQUESTS_MAX + 5);
    expect(rig.result?.reason).toBe('detached');
  });

  test('leaves what is at the device to the device when a connection is lost, and waits for that', async () => {
    const rig = new DeviceSessionRig();
    rig.device.plan = ({ op }) => (op === 'write' ? { kind: 'hold' } : null);
    rig.deliver(write(0, pattern(512, 1), 1), read(0, 512, 2));
    await rig.settle();
    rig.send.destroy();
    await rig.settle();
    expect(rig.reason).toBe('connection lost');
    expect(rig.receive.destroyed).toBe(true);
    expect(rig.result).toBeNull();
    rig.device.release();
    await rig.settle();
    expect(rig.result).toEqual({ reason: 'connection lost', isFlushed: true });
    expect(rig.clock.timerCount).toBe(0);
  });

  test('says when its last flush failed', async () => {
    const rig = new DeviceSessionRig();
    rig.device.plan = ({ op }) => (op === 'flush' ? { kind: 'fail', errno: 'EIO' } : null);
    rig.deliver(write(0, pattern(512, 1), 1));
    await rig.settle();
    rig.receive.finish();
    await rig.settle();
    expect(rig.result).toEqual({ reason: 'detached', isFlushed: false });
  });

  test('does not flush what is flushed', async () => {
    const rig = new DeviceSessionRig();
    rig.deliver(write(0, pattern(512, 1), 1));
    await rig.settle();
    rig.deliver(request(COMMAND.flush, 0, 0, 2));
    await rig.settle();
    rig.receive.finish();
    await rig.settle();
    expect(rig.started).toEqual(['write 0+512', 'flush 0+0']);
  });

  test('comes after eight seconds within a request, but never between two', () => {
    const rig = new DeviceSessionRig();
    rig.clock.advance(3_600_000);
    expect(rig.reason).toBeNull();
    rig.deliver(write(0, pattern(512, 1), 1).subarray(0, 100));
    rig.clock.advance(7000);
    expect(rig.reason).toBeNull();
    rig.clock.advance(2000);
    expect(rig.reason).toBe('stuck in a request');
  });

  test('comes after three silent intervals with keep-alive, unless it is we who do not listen', async () => {
    const rig = new DeviceSessionRig({ features: Features.all, keepAliveMs: 1000 });
    rig.device.plan = () => ({ kind: 'hold' });
    rig.deliver(...Array.from({ length: WINDOW_REQUESTS_MAX + 1 }, (_, seq) => read(seq * 512, 512, seq)));
    rig.clock.advance(10_000);
    expect(rig.reason).toBeNull();
    rig.device.plan = () => null;
    rig.device.release();
    await rig.settle();
    rig.clock.advance(2000);
    rig.deliver(request(COMMAND.ping, 0, 0, 1));
    rig.clock.advance(2000);
    expect(rig.reason).toBeNull();
    rig.clock.advance(2000);
    expect(rig.reason).toBe('client silent');
  });

  test('does not come for what this program stood still for', () => {
    const rig = new DeviceSessionRig({ features: Features.all, keepAliveMs: 1000 });
    rig.deliver(write(0, pattern(512, 1), 1).subarray(0, 100));
    rig.clock.advance(2000);
    rig.clock.standStill(3_600_000);
    rig.deliver(write(0, pattern(512, 1), 1).subarray(100));
    rig.clock.advance(2000);
    expect(rig.reason).toBeNull();
    rig.clock.standStill(3_600_000);
    expect(rig.session.silentMs).toBeLessThan(3000);
    rig.clock.advance(2000);
    expect(rig.reason).toBe('client silent');
  });

  test('comes when the client takes no answers for a minute', async () => {
    const rig = new DeviceSessionRig();
    rig.send.isSlow = true;
    rig.deliver(read(0, 512, 1));
    await rig.settle();
    rig.clock.advance(55_000);
    expect(rig.reason).toBeNull();
    rig.clock.advance(10_000);
    await rig.settle();
    expect(rig.result?.reason).toBe('client takes no answers');
  });

  test('comes with a stop, when what is under way is answered; nothing new is begun', async () => {
    const rig = new DeviceSessionRig();
    rig.device.plan = () => ({ kind: 'hold' });
    rig.deliver(read(0, 512, 1));
    rig.session.stop();
    rig.deliver(read(0, 512, 2));
    await rig.settle();
    rig.device.release();
    expect((await rig.answers()).map(({ seq }) => seq)).toEqual([1]);
    expect(rig.result?.reason).toBe('stopped');
  });
});
