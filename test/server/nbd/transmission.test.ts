import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterEach, describe, expect, test } from 'vitest';
import { NBD_COMMAND, NBD_COMMAND_FLAG } from '../../../src/protocol/nbd.js';
import { WINDOW_BYTES_MAX, WINDOW_REQUESTS_MAX } from '../../../src/server/stream/limits.js';
import { pattern } from '../../support/device-requests.js';
import { FaultDevice } from '../../support/fault-device.js';
import { MemoryDevice } from '../../support/memory-device.js';
import type { NbdClient } from '../../support/nbd-client.js';
import { NbdWorld } from '../../support/nbd-world.js';
import { RecorderDevice } from '../../support/recorder-device.js';
import { until } from '../../support/until.js';

const { read, flush, trim, writeZeroes } = NBD_COMMAND;
const MIB = 1_048_576;
let world: NbdWorld;

afterEach(async () => world.end());

interface Served {
  readonly memory: MemoryDevice;
  readonly faults: FaultDevice;
  readonly recorder: RecorderDevice;
  readonly client: NbdClient;
}

async function serve({ memory = new MemoryDevice(), isStructured = false } = {}): Promise<Served> {
  const faults = new FaultDevice(memory);
  const recorder = new RecorderDevice(faults);
  world = await NbdWorld.start(recorder);
  return { memory, faults, recorder, client: await world.attach({ isStructured }) };
}

describe.each([{ isStructured: false }, { isStructured: true }])(
  'structured replies $isStructured:',
  (mode) => {
    const kind = mode.isStructured ? 'chunk' : 'simple';

    test('what is written is read back', async () => {
      const { client, memory } = await serve(mode);
      const data = pattern(8192, 1);
      expect(await client.write(4096, data)).toMatchObject({ kind: 'simple', errno: 0 });
      expect(memory.data.subarray(4096, 12_288).equals(data)).toBe(true);
      const reply = await client.read(4096, 8192);
      expect(reply).toMatchObject({ kind, errno: 0, offsetBytes: mode.isStructured ? 4096 : null });
      expect(reply.data.equals(data)).toBe(true);
    });

    test.each([1, 2, 7].map((mib) => ({ mib })))(
      '$mib MiB and a sector go through whole',
      async ({ mib }) => {
        const memory = new MemoryDevice({ mediaSizeBytes: 16 * MIB });
        const { client, recorder } = await serve({ ...mode, memory });
        const data = pattern(mib * MIB + 512, mib);
        expect(await client.write(MIB + 512, data)).toMatchObject({ errno: 0 });
        expect(memory.data.subarray(MIB + 512, MIB + 512 + data.length).equals(data)).toBe(true);
        expect((await client.read(MIB + 512, data.length)).data.equals(data)).toBe(true);
        expect(Math.max(...recorder.events.map((event) => event.lengthBytes))).toBe(MIB);
      },
    );

    test('a flush that the device can not do is an error like any, so that nobody takes it for needless', async () => {
      const { client, faults } = await serve(mode);
      faults.plan = (io) => (io.op === 'flush' ? { kind: 'fail', errno: 'EOPNOTSUPP' } : null);
      expect(await client.request({ command: flush })).toMatchObject({ kind, errno: 5 });
      const fua = { command: writeZeroes, lengthBytes: 512, flags: NBD_COMMAND_FLAG.fua };
      expect(await client.request(fua)).toMatchObject({ kind, errno: 5 });
    });

    test('a failed request is answered with its errno, and the connection goes on', async () => {
      const { client, faults } = await serve(mode);
      faults.plan = (io) =>
        io.op === 'read' || io.op === 'write' ? { kind: 'fail', errno: 'ENOSPC' } : null;
      const text = mode.isStructured ? 'memory: a fault that the test asked for: ENOSPC' : '';
      expect(await client.read(0, 4096)).toMatchObject({ kind, errno: 28, text });
      expect(await client.write(0, pattern(512, 1))).toMatchObject({ kind, errno: 28, text });
      faults.plan = () => null;
      expect(await client.read(0, 4096)).toMatchObject({ errno: 0 });
      expect(world.log.at('warn')).toMatchObject([
        { message: 'memory: a fault that the test asked for: ENOSPC' },
      ]);
    });

    test('a refused write is skipped over, however long it is, and the next request is understood', async () => {
      const { client, recorder } = await serve(mode);
      const tooLong = Buffer.alloc(32 * MIB + 512, 0xab);
      expect(await client.write(0, tooLong)).toMatchObject({ kind, errno: 22 });
      expect(await client.write(100, pattern(512, 1))).toMatchObject({ errno: 22 });
      expect(recorder.events).toEqual([]);
      expect(await client.read(0, 512)).toMatchObject({ errno: 0 });
    });

    test('a long read that fails in one piece is one error', async () => {
      const memory = new MemoryDevice({ mediaSizeBytes: 16 * MIB });
      const { client, faults, recorder } = await serve({ ...mode, memory });
      faults.plan = ({ offsetBytes }) => (offsetBytes === 2 * MIB ? { kind: 'fail', errno: 'EIO' } : null);
      expect(await client.read(0, 12 * MIB)).toMatchObject({ kind, errno: 5 });
      expect(recorder.started().length).toBeLessThan(12);
      expect(await client.read(0, 512)).toMatchObject({ errno: 0 });
    });
  },
);

describe('other commands', () => {
  test('flush, trim and zeroes reach the device as they are', async () => {
    const { client, recorder, memory } = await serve();
    memory.data.fill(0xcc);
    expect(await client.request({ command: flush })).toMatchObject({ errno: 0 });
    expect(await client.request({ command: trim, offsetBytes: 512, lengthBytes: 1024 })).toMatchObject({
      errno: 0,
    });
    const zeroes = { command: writeZeroes, offsetBytes: 4096, lengthBytes: 65_536 };
    expect(await client.request(zeroes)).toMatchObject({ errno: 0 });
    expect(recorder.started()).toEqual(['flush 0+0', 'trim 512+1024', 'write-zeroes 4096+65536']);
    expect(memory.data.subarray(4096, 69_632).every((byte) => byte === 0)).toBe(true);
  });

  test('zeroes that must not become a hole are written as data', async () => {
    const memory = new MemoryDevice({ mediaSizeBytes: 4 * MIB });
    memory.data.fill(0xcc);
    const { client, recorder } = await serve({ memory });
    const zeroes = { command: writeZeroes, offsetBytes: 512, lengthBytes: 3 * MIB, flags: 2 };
    expect(await client.request(zeroes)).toMatchObject({ errno: 0 });
    expect(recorder.started()).toEqual([1, 2, 3].map((piece) => `write ${(piece - 1) * MIB + 512}+${MIB}`));
    expect(memory.data.subarray(512, 512 + 3 * MIB).every((byte) => byte === 0)).toBe(true);
    expect([memory.data[511], memory.data[512 + 3 * MIB]]).toEqual([0xcc, 0xcc]);
  });

  test('on a read-only device each change is EPERM and none arrives', async () => {
    const memory = new MemoryDevice({ can: { write: false, trim: false, writeZeroes: false } });
    const { client, recorder } = await serve({ memory });
    expect(await client.write(0, pattern(512, 1))).toMatchObject({ errno: 1 });
    expect(await client.request({ command: trim, lengthBytes: 512 })).toMatchObject({ errno: 1 });
    expect(await client.request({ command: writeZeroes, lengthBytes: 512 })).toMatchObject({ errno: 1 });
    expect(recorder.events).toEqual([]);
  });
});

describe('a write with FUA', () => {
  test('is answered after the flush that follows it', async () => {
    const { client, faults, recorder } = await serve();
    faults.plan = ({ op }) => (op === 'flush' ? { kind: 'hold' } : null);
    client.send({ command: NBD_COMMAND.write, flags: 1 }, pattern(512, 1));
    await until('the flush', () => faults.heldCount === 1);
    client.send({ command: read, lengthBytes: 512 });
    expect((await client.reply()).cookie).toBe(2);
    faults.release();
    expect(await client.reply()).toMatchObject({ cookie: 1, errno: 0 });
    expect(recorder.started().slice(0, 2)).toEqual(['write 0+512', 'flush 0+0']);
  });

  test('fails when its flush does, and needs none when it has failed itself', async () => {
    const { client, faults, recorder } = await serve();
    faults.plan = ({ op }) => (op === 'flush' ? { kind: 'fail', errno: 'EIO' } : null);
    expect(await client.write(0, pattern(512, 1), 1)).toMatchObject({ errno: 5 });
    faults.plan = () => ({ kind: 'fail', errno: 'ENOSPC' });
    expect(await client.write(0, pattern(512, 1), 1)).toMatchObject({ errno: 28 });
    expect(recorder.started()).toEqual(['write 0+512', 'flush 0+0', 'write 0+512']);
  });
});

describe('many requests at once', () => {
  test('are answered as they are done, not as they came', async () => {
    const { client, faults } = await serve();
    faults.plan = ({ offsetBytes }) => (offsetBytes === 0 ? { kind: 'hold' } : null);
    const [held, other] = [0, 512].map((offsetBytes) =>
      client.send({ command: read, offsetBytes, lengthBytes: 512 }),
    );
    expect((await client.reply()).cookie).toBe(other);
    faults.release();
    expect((await client.reply()).cookie).toBe(held);
  });

  test('each gets its own data, however they are mixed and cut on the way', async () => {
    const { client, memory } = await serve({ isStructured: true });
    pattern(memory.data.length, 5).copy(memory.data);
    const expected = new Map<number, { offsetBytes: number; lengthBytes: number }>();
    for (let index = 0; index < 400; index++) {
      const range = { offsetBytes: ((index * 37) % 1000) * 512, lengthBytes: (1 + (index % 9)) * 512 };
      expected.set(client.send({ command: read, ...range }), range);
      if (index % 3 > 0) continue;
      const offsetBytes = 600_064 + (index % 100) * 4096;
      expected.set(client.send({ command: NBD_COMMAND.write, offsetBytes }, pattern(4096, index)), {
        offsetBytes: 0,
        lengthBytes: 0,
      });
    }
    while (expected.size > 0) {
      const { cookie, errno, data } = await client.reply();
      const range = expected.get(cookie);
      expect(errno).toBe(0);
      if (range === undefined) throw new Error(`a second answer to ${cookie}`);
      expected.delete(cookie);
      // What is written meanwhile lies behind all that is read.
      const there = pattern(range.offsetBytes + range.lengthBytes, 5).subarray(range.offsetBytes);
      expect(data.equals(there)).toBe(true);
    }
  });

  test('wait in the socket when there are more than the window takes, and are all served in the end', async () => {
    const { client, faults } = await serve();
    faults.plan = () => ({ kind: 'hold' });
    for (let index = 0; index < 1000; index++)
      client.send({ command: read, offsetBytes: 0, lengthBytes: 512 });
    await until('a full window', () => faults.heldCount === WINDOW_REQUESTS_MAX);
    for (let turn = 0; turn < 20; turn++) await nextTurn();
    expect(faults.heldCount).toBe(WINDOW_REQUESTS_MAX);
    faults.plan = () => null;
    faults.release();
    for (let index = 0; index < 1000; index++) expect((await client.reply()).errno).toBe(0);
  });

  test('hold no more memory than the window when the client reads no answers', async () => {
    const memory = new MemoryDevice({ mediaSizeBytes: 64 * MIB });
    const { client, recorder } = await serve({ memory });
    client.socket.pause();
    for (let index = 0; index < 100; index++)
      client.send({ command: read, offsetBytes: 0, lengthBytes: MIB });
    await until('the first answers', () => recorder.events.length > 10);
    for (let turn = 0; turn < 100; turn++) await nextTurn();
    const begun = recorder.started().length;
    // What the kernel's socket buffers take has been answered; they are far smaller than a request.
    expect(begun * MIB).toBeLessThanOrEqual(WINDOW_BYTES_MAX + 2 * MIB);
    client.socket.resume();
    for (let index = 0; index < 100; index++) expect((await client.reply()).data.length).toBe(MIB);
  });
});

test('a flush on one connection comes after the writes answered on another', async () => {
  const { client, recorder } = await serve();
  const other = await world.attach();
  await client.write(0, pattern(512, 1));
  await other.request({ command: flush });
  expect(recorder.started()).toEqual(['write 0+512', 'flush 0+0']);
  expect((await other.read(0, 512)).data.equals(pattern(512, 1))).toBe(true);
});
