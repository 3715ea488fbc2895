import { setImmediate as nextTurn } from 'node:timers/promises';
import { connect } from 'node:net';
import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { NBD_COMMAND } from '../../../src/protocol/nbd.js';
import { CLOSE_DRAIN_MS } from '../../../src/server/nbd/limits.js';
import { LINGER_MS } from '../../../src/server/stream/limits.js';
import { pattern } from '../../support/device-requests.js';
import { FaultDevice } from '../../support/fault-device.js';
import { MemoryDevice } from '../../support/memory-device.js';
import { infoRequest, requestBytes, type NbdClient } from '../../support/nbd-client.js';
import { NbdWorld } from '../../support/nbd-world.js';
import { RecorderDevice } from '../../support/recorder-device.js';
import { until } from '../../support/until.js';

const { read, write, disconnect } = NBD_COMMAND;
const MIB = 1_048_576;
let world: NbdWorld;
let memory: MemoryDevice;
let faults: FaultDevice;
let recorder: RecorderDevice;

afterEach(async () => world.end());

async function serve(mediaSizeBytes = MIB): Promise<void> {
  memory = new MemoryDevice({ mediaSizeBytes });
  faults = new FaultDevice(memory);
  recorder = new RecorderDevice(faults);
  world = await NbdWorld.start(recorder);
}

const detachReasons = (): unknown[] =>
  world.log
    .at('info')
    .filter((line) => line.message.includes('detached'))
    .map((line) => line.fields['reason']);

const served = async (client: NbdClient): Promise<void> =>
  expect(await client.read(0, 512)).toMatchObject({ errno: 0 });

describe('a client that goes', () => {
  test.each([
    { what: '4 KiB', lengthBytes: 4096, sentBytes: 4095 },
    { what: '4 KiB of which nothing came', lengthBytes: 4096, sentBytes: 0 },
    { what: '8 MiB', lengthBytes: 8 * MIB, sentBytes: 8 * MIB - 1 },
  ])(
    'in the middle of a write of $what leaves nothing of it on the device',
    async ({ lengthBytes, sentBytes }) => {
      await serve(16 * MIB);
      const [client, other] = [await world.attach(), await world.attach()];
      client.send({ command: write, lengthBytes }, Buffer.alloc(sentBytes, 0xab));
      client.socket.end();
      await client.inbox.closed();
      await until('the log', () => detachReasons().length === 1);
      expect(detachReasons()).toEqual(['the client has closed within a request']);
      expect(recorder.events).toEqual([]);
      await served(other);
    },
  );

  test('at any byte of a stream of writes leaves whole writes only', async () => {
    await serve(16 * MIB);
    const stream = Buffer.concat(
      Array.from({ length: 8 }, (_, index) =>
        Buffer.concat([
          requestBytes({ command: write, offsetBytes: index * 1024, lengthBytes: 1024 }, index),
          Buffer.alloc(1024, 0x30 + index),
        ]),
      ),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 0, max: stream.length }),
        fc.array(fc.nat(stream.length)),
        async (end, cuts) => {
          memory.data.fill(0);
          const client = await world.attach();
          let from = 0;
          for (const cut of [...cuts.filter((at) => at < end).sort((a, b) => a - b), end]) {
            client.socket.write(stream.subarray(from, cut));
            from = cut;
            await nextTurn();
          }
          client.socket.end();
          await client.inbox.closed();
          await until('the end of the connection', () => world.server.connectionCount === 0);
          const whole = Math.floor(end / 1052);
          for (let index = 0; index < 8; index++) {
            const found = memory.data.subarray(index * 1024, (index + 1) * 1024);
            expect(found.every((byte) => byte === (index < whole ? 0x30 + index : 0))).toBe(true);
          }
        },
      ),
      { numRuns: 40 },
    );
  });

  test('while the device has its requests is forgotten when they are done', async () => {
    await serve();
    faults.plan = () => ({ kind: 'hold' });
    const client = await world.attach();
    client.send({ command: write }, pattern(4096, 1));
    client.send({ command: read, lengthBytes: 4096 });
    await until('two requests at the device', () => faults.heldCount === 2);
    client.destroy();
    await until('the log', () => detachReasons().length === 1);
    expect(world.server.connectionCount).toBe(1);
    faults.release();
    await until('the end', () => world.server.connectionCount === 0);
    expect(memory.data.subarray(0, 4096).equals(pattern(4096, 1))).toBe(true);
  });

  test('with DISC gets the answers to all before it, and nothing behind it is looked at', async () => {
    await serve();
    faults.plan = () => ({ kind: 'hold' });
    const client = await world.attach();
    client.send({ command: write }, pattern(512, 1));
    client.send({ command: disconnect });
    client.send({ command: write, offsetBytes: 512 }, pattern(512, 2));
    await until('the first write', () => faults.heldCount === 1);
    faults.release();
    expect(await client.reply()).toMatchObject({ cookie: 1, errno: 0 });
    await client.inbox.closed();
    expect(recorder.started()).toEqual(['write 0+512']);
    await until('the log', () => detachReasons().length === 1);
    expect(detachReasons()).toEqual(['the client has disconnected']);
  });
});

describe('garbage', () => {
  test('in the place of a request ends that connection, is logged once, and no other hears of it', async () => {
    await serve();
    const [bad, good] = [await world.attach(), await world.attach()];
    bad.socket.write(Buffer.alloc(1000, 'x'));
    await bad.inbox.closed();
    await until('the log', () => detachReasons().length === 1);
    expect(detachReasons()).toEqual([expect.stringMatching(/starts with 0x78787878, no NBD magic/)]);
    await served(good);
  });

  test('of any kind, at any point, crashes nothing and writes nothing that was not asked for', async () => {
    await serve();
    const good = await world.attach();
    const hello = Buffer.concat([
      Buffer.from([0, 0, 0, 3]),
      Buffer.from('IHAVEOPT\0\0\0\x08\0\0\0\0', 'latin1'),
      Buffer.from('IHAVEOPT\0\0\0\x07\0\0\0\x0a', 'latin1'),
      infoRequest('disk'),
      requestBytes({ command: read, lengthBytes: 4096 }, 1),
      requestBytes({ command: write, offsetBytes: 4096, lengthBytes: 512 }, 2),
      pattern(512, 1),
      requestBytes({ command: NBD_COMMAND.flush }, 3),
      requestBytes({ command: NBD_COMMAND.trim, offsetBytes: 8192, lengthBytes: 512 }, 4),
    ]);
    const damage = fc.record({ at: fc.nat(hello.length - 1), byte: fc.integer({ min: 0, max: 255 }) });
    await fc.assert(
      fc.asyncProperty(fc.array(damage, { maxLength: 4 }), fc.nat(hello.length), async (damages, end) => {
        const bytes = Buffer.from(hello.subarray(0, end));
        for (const { at, byte } of damages) if (at < end) bytes[at] = byte;
        const socket = connect({ path: world.unixPath });
        socket.on('error', () => undefined).resume();
        socket.end(bytes);
        await new Promise((resolve) => socket.once('close', resolve));
        await served(good);
      }),
      { numRuns: 300 },
    );
    expect(world.log.at('error')).toEqual([]);
    expect(recorder.events.every((event) => event.offsetBytes + event.lengthBytes <= MIB)).toBe(true);
  });

  test('as requests with random fields is answered each time, with an errno or with success', async () => {
    await serve();
    const client = await world.attach({ isStructured: true });
    const fields = fc.record({
      command: fc.oneof(fc.integer({ min: 3, max: 9 }), fc.constant(read)),
      offsetBytes: fc.oneof(
        fc.nat(2_000_000),
        fc.maxSafeNat(),
        fc.nat(2000).map((sector) => sector * 512),
      ),
      lengthBytes: fc.oneof(
        fc.nat(2 ** 32 - 1),
        fc.nat(64).map((sectors) => sectors * 512),
      ),
      flags: fc.oneof(fc.constant(0), fc.nat(2 ** 16 - 1), fc.nat(7)),
    });
    await fc.assert(
      fc.asyncProperty(fields, async (request) => {
        const { errno } = await client.request(request);
        expect([0, 1, 22, 28]).toContain(errno);
      }),
      { numRuns: 500 },
    );
  });
});

describe('a server that ends', () => {
  test('answers what the device has, takes nothing new, and closes', async () => {
    await serve();
    const [client, waiting] = [await world.attach(), await world.connect()];
    faults.plan = () => ({ kind: 'hold' });
    client.send({ command: write }, pattern(512, 1));
    await until('the write', () => faults.heldCount === 1);
    const closed = world.server.close();
    await waiting.inbox.closed();
    client.send({ command: write, offsetBytes: 512 }, pattern(512, 2));
    await nextTurn();
    faults.release();
    expect(await client.reply()).toMatchObject({ cookie: 1, errno: 0 });
    await client.inbox.closed();
    await closed;
    expect(recorder.started()).toEqual(['write 0+512']);
    await expect(world.connect()).rejects.toThrow();
  });

  test('does not wait for ever, neither for a device nor for a client that does not read', async () => {
    await serve();
    const client = await world.attach();
    faults.plan = () => ({ kind: 'hold' });
    client.send({ command: read, lengthBytes: 512 });
    await until('the read', () => faults.heldCount === 1);
    const closed = world.server.close();
    await nextTurn();
    world.clock.advance(CLOSE_DRAIN_MS);
    await closed;
    await client.inbox.closed();
    faults.release();
  });

  test('gives a client that does not close two seconds', async () => {
    await serve();
    const client = await world.attach();
    client.socket.pause();
    const closed = world.server.close();
    await nextTurn();
    world.clock.advance(LINGER_MS);
    await closed;
    expect(detachReasons()).toHaveLength(1);
  });
});

test('a device that fails a thousand times is one line in the log', async () => {
  await serve();
  faults.plan = () => ({ kind: 'fail', errno: 'EIO' });
  const client = await world.attach();
  for (let count = 0; count < 1000; count++) client.send({ command: read, lengthBytes: 512 });
  for (let count = 0; count < 1000; count++) expect((await client.reply()).errno).toBe(5);
  await client.disconnect();
  expect(world.log.at('warn')).toHaveLength(1);
  await until('the log', () => detachReasons().length === 1);
  const detached = world.log.at('info').find((line) => line.message.includes('detached'));
  expect(detached?.fields).toMatchObject({ peer: 'unix', export: 'disk', requests: 1000, errors: 1000 });
});
