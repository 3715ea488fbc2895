import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ProbedServers } from '../../src/client/flush-probe.js';
import type { RemoteDevice } from '../../src/client/remote-device.js';
import { COMMAND } from '../../src/protocol/request.js';
import { FakeClock } from '../support/fake-clock.js';
import type { FakeRequest } from '../support/fake-server.js';
import {
  checksumsOf,
  clear,
  flush,
  pattern,
  readBytes,
  request,
  start,
  writeBytes,
} from '../support/device-requests.js';
import { RemoteWorld } from '../support/remote.js';
import { until } from '../support/until.js';

const MEDIUM_BYTES = 1_048_576;
let world: RemoteWorld;
beforeEach(() => (world = new RemoteWorld()));
afterEach(async () => await world.end());

const sector = (index: number) => ({ offsetBytes: index * 512, lengthBytes: 512 });

describe('a remote device', () => {
  test('splits long requests, has them done once, and puts every piece where it belongs', async () => {
    const server = await world.server();
    const device = await world.open(server);
    const data = pattern(MEDIUM_BYTES, 4);
    await writeBytes(device, 0, data);
    expect(server.disk.equals(data)).toBe(true);
    let dones = 0;
    const buffer = Buffer.alloc(MEDIUM_BYTES + 100, 0xee);
    await new Promise<void>((resolve) => {
      const done = (): void => {
        dones += 1;
        resolve();
      };
      device.start(request({ op: 'read', lengthBytes: MEDIUM_BYTES, buffer, bufferAt: 50, done }));
    });
    expect(buffer.subarray(50, 50 + MEDIUM_BYTES).equals(data)).toBe(true);
    expect(buffer.subarray(0, 50).every((byte) => byte === 0xee)).toBe(true);
    expect(buffer.subarray(50 + MEDIUM_BYTES).every((byte) => byte === 0xee)).toBe(true);
    const lengths = server.sessions[0]?.requests.map(({ lengthBytes }) => lengthBytes);
    expect(lengths).toEqual(Array.from({ length: 16 }, () => 131_072));
    await flush(device);
    expect(dones).toBe(1);
  });

  test('tells the first error of the pieces, when all of them are answered', async () => {
    const server = await world.server();
    server.behaviour.onRequest = (asked, session) => {
      if (asked.offsetBytes === 262_144) session.answer(asked, { errorNumber: 28 });
      else if (asked.offsetBytes === 524_288) session.answer(asked, { errorNumber: 5 });
      else session.serve(asked);
    };
    const device = await world.open(server);
    const range = { offsetBytes: 0, lengthBytes: MEDIUM_BYTES };
    const error = await start(device, 'write', range, Buffer.alloc(MEDIUM_BYTES));
    expect(error).toMatchObject({ code: 'DEVICE_IO', errno: 'ENOSPC' });
    expect(device.stats).toMatchObject({ requests: 8, errors: 2, writtenBytes: 6 * 131_072 });
  });

  test('uses the commands that a hello offers, as they are specified', async () => {
    const server = await world.server();
    const device = await world.open(server);
    await clear(device, 'trim', { offsetBytes: 512, lengthBytes: 1024 });
    await clear(device, 'write-zeroes', { offsetBytes: 0, lengthBytes: MEDIUM_BYTES });
    await checksumsOf(device, { offsetBytes: 65_536, lengthBytes: 131_072 });
    await flush(device);
    const sent = server.sessions[0]?.requests.map(({ command, offsetBytes, lengthBytes }) => [
      command,
      offsetBytes,
      lengthBytes,
    ]);
    expect(sent).toEqual([
      [COMMAND.trim, 512, 1024],
      [COMMAND.writeZeroes, 0, MEDIUM_BYTES],
      [COMMAND.checksum, 65_536, 131_072],
      [COMMAND.flush, MEDIUM_BYTES, 0],
    ]);
  });

  test('takes answers in any order', async () => {
    const server = await world.server();
    const held: FakeRequest[] = [];
    server.behaviour.onRequest = (asked, session) => {
      held.push(asked);
      if (held.length === 8) for (const each of held.toReversed()) session.serve(each);
    };
    const device = await world.open(server);
    for (let index = 0; index < 8; index++) pattern(512, index).copy(server.disk, index * 512);
    const found = await Promise.all(
      Array.from({ length: 8 }, (_, index) => readBytes(device, sector(index))),
    );
    expect(found.every((data, index) => data.equals(pattern(512, index)))).toBe(true);
  });

  test.each([
    { what: 'a ping where it is known', options: {}, command: COMMAND.ping },
    { what: 'a read of nothing without hello', options: { extensions: false }, command: COMMAND.read },
    {
      what: 'a write of nothing where reading is forbidden',
      options: { extensions: false, access: 'wo' as const },
      command: COMMAND.write,
    },
  ])('measures round trips with $what', async ({ options, command }) => {
    const server = await world.server();
    const device = await world.open(server, options);
    const timesMs = await device.roundTripMs(3);
    expect(timesMs).toHaveLength(3);
    expect(timesMs.every((timeMs) => timeMs >= 0)).toBe(true);
    const asked = server.sessions[0]?.requests ?? [];
    expect(asked).toHaveLength(3);
    expect(
      asked.every((each) => each.command === command && each.lengthBytes === 0 && each.offsetBytes === 0),
    ).toBe(true);
  });

  test('a round trip that the connection does not survive is an error', async () => {
    const server = await world.server({ onRequest: (_asked, session) => session.drop() });
    const device = await world.open(server);
    await expect(device.roundTripMs(1)).rejects.toMatchObject({ code: 'DEVICE_LOST' });
  });

  test.each([
    { what: 'an answer to nothing', spoil: (header: Buffer) => header.writeUInt8(99, 20) },
    { what: 'an answer that is no echo', spoil: (header: Buffer) => header.writeUInt8(1, 5) },
  ])('cuts a connection with $what, tells it once, and repeats the request on another', async ({ spoil }) => {
    const server = await world.server();
    const reasons: unknown[] = [];
    let isFirst = true;
    server.behaviour.onRequest = (asked, session) => {
      const header = Buffer.from(asked.header);
      if (isFirst) spoil(header);
      if (isFirst) session.send(Buffer.concat([header, Buffer.alloc(5000, 0x17)]));
      else session.serve(asked);
      isFirst = false;
    };
    const device = await world.open(server, { events: { lost: (reason) => reasons.push(reason) } });
    await readBytes(device, sector(3));
    expect(reasons).toMatchObject([{ code: 'DEVICE_LOST', errno: 'EPROTO' }]);
  });

  test('does not take anything on the half where the server only receives', async () => {
    const server = await world.server();
    const reasons: unknown[] = [];
    const device = await world.open(server, { events: { lost: (reason) => reasons.push(reason) } });
    (await server.session(0)).halves.receive?.write('hello');
    await until('the loss', () => reasons.length > 0);
    expect(reasons).toMatchObject([{ code: 'DEVICE_LOST', errno: 'EPROTO' }]);
    await readBytes(device, sector(0));
  });
});

describe('close()', () => {
  test('waits for what was started, then ends the session where a header would begin', async () => {
    const server = await world.server({ answers: false });
    const device = await world.open(server);
    const outcome = start(device, 'write', sector(0), pattern(512, 1));
    const session = await server.session(0);
    const asked = await until('the request', () => session.requests[0]);
    const order: string[] = [];
    for (const half of ['receive', 'send'] as const) session.halves[half]?.on('end', () => order.push(half));
    const closed = device.close();
    expect((await start(device, 'read', sector(0), Buffer.alloc(512)))?.code).toBe('DEVICE_CLOSED');
    session.serve(asked);
    expect(await outcome).toBeNull();
    await closed;
    await until('both ends', () => order.length === 2);
    expect(order).toEqual(['receive', 'send']);
    expect(session.hasEnded).toBe(true);
  });

  test('gives up what is not answered within its bound', async () => {
    const clock = new FakeClock();
    const server = await world.server({ answers: false });
    const device = await world.open(server, { clock });
    const outcome = start(device, 'write', sector(0), pattern(512, 1));
    await until('the request', () => (server.sessions[0]?.requests.length ?? 0) > 0);
    const closed = device.close();
    clock.advance(10_000);
    expect((await outcome)?.code).toBe('DEVICE_CLOSED');
    await closed;
    expect(clock.timerCount).toBe(0);
  });

  test('ends the attempts to reconnect, and what waits for them', async () => {
    const clock = new FakeClock();
    const server = await world.server({ answers: false });
    const device = await world.open(server, { clock });
    const outcome = start(device, 'write', sector(0), pattern(512, 1));
    await until('the request', () => (server.sessions[0]?.requests.length ?? 0) > 0);
    await server.stop();
    await until('the loss', () => !device.isConnected);
    const closed = device.close();
    clock.advance(10_000);
    expect((await outcome)?.code).toBe('DEVICE_CLOSED');
    await closed;
    expect(clock.timerCount).toBe(0);
  });

  test('waits for the end of a session that was given up with nothing under way, which is one in order', async () => {
    const server = await world.server();
    const device = await world.open(server);
    const session = await server.session(0);
    let isEnded = false;
    // What is sent after the end would say that it was none.
    session.halves.receive?.pause();
    device.abandon();
    const closed = device.close().then(() => (isEnded = true));
    for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
    expect(isEnded).toBe(false);
    session.halves.receive?.resume();
    await closed;
    await until('the end', () => session.hasEnded);
  });

  test('does not wait long for a server that does not end its side', async () => {
    const clock = new FakeClock();
    const server = await world.server();
    const device = await world.open(server, { clock });
    const session = await server.session(0);
    // As a stopped process: it reads nothing and answers nothing.
    session.halves.receive?.pause();
    session.halves.receive?.removeAllListeners('end');
    const closed = device.close();
    await new Promise((resolve) => setImmediate(resolve));
    clock.advance(1000);
    await closed;
    expect(clock.timerCount).toBe(0);
  });
});

describe('the flush probe', () => {
  const probing = { flushProbe: 'once' } as const;

  async function canFlush(device: RemoteDevice): Promise<boolean> {
    if (device.can.flush) await flush(device);
    return device.can.flush;
  }

  test('is not made unless it is asked for: a server without hello has no flush', async () => {
    const server = await world.server({ hello: null });
    const device = await world.open(server);
    expect(await canFlush(device)).toBe(false);
    expect(server.sessions).toHaveLength(1);
  });

  test('finds FLUSH on a session of its own, which is read-only, and is not repeated', async () => {
    const server = await world.server({ hello: null });
    const device = await world.open(server, probing);
    expect(await canFlush(device)).toBe(true);
    await world.open(server, probing);
    const [main, probe, again] = server.sessions;
    expect(server.sessions).toHaveLength(3);
    expect(main?.initial.access).toBe('rw');
    expect(probe?.initial.access).toBe('ro');
    expect(probe?.requests).toMatchObject([
      { command: COMMAND.flush, offsetBytes: MEDIUM_BYTES, lengthBytes: 0 },
    ]);
    expect(again?.initial.access).toBe('rw');
  });

  test('of a ggated that aborts on it costs that session only, and is not repeated', async () => {
    const server = await world.server({ hello: null, abortsOnFlush: true });
    const device = await world.open(server, probing);
    expect(await canFlush(device)).toBe(false);
    await writeBytes(device, 0, pattern(512, 1));
    expect(device.stats.reconnects).toBe(0);
    const again = await world.open(server, probing);
    expect(again.can.flush).toBe(false);
    expect(server.sessions).toHaveLength(3);
  });

  test('takes any errno for no', async () => {
    const server = await world.server({
      hello: null,
      onRequest: (asked, session) => session.answer(asked, { errorNumber: 45 }),
    });
    const device = await world.open(server, probing);
    expect(device.can.flush).toBe(false);
  });

  test('that is refused learns nothing and remembers nothing', async () => {
    const server = await world.server({ hello: null });
    server.behaviour.refusal = ({ access }) => (access === 'ro' ? 1 : 0);
    expect((await world.open(server, probing)).can.flush).toBe(false);
    server.behaviour.refusal = () => 0;
    expect((await world.open(server, probing)).can.flush).toBe(true);
  });

  test('is made write-only where reading is forbidden, and not at all where nothing is written', async () => {
    const server = await world.server({ hello: null });
    await world.open(server, { ...probing, access: 'ro' });
    expect(server.sessions).toHaveLength(1);
    await world.open(server, { ...probing, access: 'wo' });
    expect(server.sessions[2]?.initial.access).toBe('wo');
  });

  test('is made again after a loss: a server that no longer knows FLUSH must not die of a replayed one', async () => {
    const server = await world.server({ hello: null });
    const device = await world.open(server, probing);
    server.behaviour.answers = false;
    const waiting = start(device, 'flush', { offsetBytes: 0, lengthBytes: 0 });
    await until('the flush', () => (server.sessions[0]?.requests.length ?? 0) > 0);
    server.behaviour.answers = true;
    server.behaviour.abortsOnFlush = true;
    server.sessions[0]?.drop();
    expect(await waiting).toMatchObject({ code: 'DEVICE_IO', errno: 'EOPNOTSUPP' });
    await until('the connection', () => device.isConnected);
    expect(await start(device, 'flush', { offsetBytes: 0, lengthBytes: 0 })).toMatchObject({
      errno: 'EOPNOTSUPP',
    });
    expect(device.stats.reconnects).toBe(1);
  });

  test('a flush after a reconnect fails once when writes were acknowledged: nobody knows what the host did', async () => {
    const server = await world.server({ hello: null });
    const device = await world.open(server, probing);
    await writeBytes(device, 0, pattern(512, 1));
    const port = await server.stop();
    await until('the loss', () => !device.isConnected);
    await server.listen(port);
    await until('the connection', () => device.isConnected);
    await expect(flush(device)).rejects.toMatchObject({ code: 'DEVICE_LOST' });
    await flush(device);
  });

  test('remembers a bounded number of servers', () => {
    const servers = new ProbedServers();
    for (let port = 0; port < 300; port++) servers.set(`backup:${port}`, true);
    expect(servers.get('backup:0')).toBeNull();
    expect(servers.get('backup:299')).toBe(true);
    servers.forget('backup:299');
    expect(servers.get('backup:299')).toBeNull();
  });
});
