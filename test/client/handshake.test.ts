import { createServer, type AddressInfo } from 'node:net';
import { once } from 'node:events';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openRemote } from '../../src/client/remote-device.js';
import { FEATURE, Features, encodeCapabilities } from '../../src/protocol/capabilities.js';
import { SERVER_INITIAL } from '../../src/protocol/handshake.js';
import { FakeClock } from '../support/fake-clock.js';
import { serverHello, type FakeBehaviour } from '../support/fake-server.js';
import { RemoteWorld, remoteOptions } from '../support/remote.js';
import { readBytes } from '../support/device-requests.js';
import { until } from '../support/until.js';

let world: RemoteWorld;
beforeEach(() => (world = new RemoteWorld()));
afterEach(async () => await world.end());

const changed = (at: number, byte: number) => (plain: Buffer) => {
  const bytes = Buffer.from(plain);
  bytes[at] = byte;
  return bytes;
};

const BAD: readonly { what: string; behaviour: Partial<FakeBehaviour> }[] = [
  { what: 'another magic', behaviour: { versionAnswer: changed(3, 0x20) } },
  { what: 'another version', behaviour: { versionAnswer: changed(17, 1) } },
  { what: 'an error in the version packet that is no hello', behaviour: { versionAnswer: changed(19, 5) } },
  { what: 'nothing but an end', behaviour: { versionAnswer: () => null } },
  { what: 'no initial packet', behaviour: { initialAnswer: () => null } },
  { what: 'an empty medium', behaviour: { hello: null, initialAnswer: (plain) => plain.fill(0, 1, 9) } },
  { what: 'half a sector', behaviour: { hello: null, initialAnswer: changed(8, 1) } },
  { what: 'a medium of 2^63 bytes', behaviour: { hello: null, initialAnswer: changed(1, 0x80) } },
  { what: 'sectors of nothing', behaviour: { hello: null, initialAnswer: (plain) => plain.fill(0, 9, 13) } },
  { what: 'sectors of 768 bytes', behaviour: { hello: null, initialAnswer: changed(12, 1) } },
  { what: 'sectors of 16 MiB', behaviour: { hello: null, initialAnswer: changed(9, 1) } },
  {
    what: 'another magic in the capability packet',
    behaviour: { initialAnswer: changed(SERVER_INITIAL.sizeBytes, 0) },
  },
  {
    what: 'a capability packet of 64 KiB',
    behaviour: { initialAnswer: changed(SERVER_INITIAL.sizeBytes + 4, 0xff) },
  },
  {
    what: 'requests of less than 128 KiB',
    behaviour: { hello: serverHello({ requestBytesMax: 65_536 }) },
  },
  { what: 'no requests at all', behaviour: { hello: serverHello({ requestsMax: 0 }) } },
  {
    what: 'answers before any request',
    behaviour: { hello: null, initialAnswer: (plain) => Buffer.concat([plain, Buffer.alloc(5000)]) },
  },
];

describe('the handshake', () => {
  test.each(BAD)('a server with $what is told to the caller as EPROTO', async ({ behaviour }) => {
    const server = await world.server(behaviour);
    await expect(world.open(server)).rejects.toMatchObject({ code: 'DEVICE_OPEN', errno: 'EPROTO' });
  });

  test('an answer that came right behind the handshake ends the connection', async () => {
    const server = await world.server({
      hello: null,
      initialAnswer: (plain) => Buffer.concat([plain, Buffer.alloc(30)]),
    });
    const reasons: string[] = [];
    const events = { lost: (reason: Error) => reasons.push(reason.message) };
    const device = await world.open(server, { events });
    await until('the loss', () => reasons.length > 0);
    expect(reasons[0]).toContain('before it was asked');
    server.behaviour.initialAnswer = null;
    await readBytes(device, { offsetBytes: 0, lengthBytes: 512 });
  });

  test.each([
    { number: 1, errno: 'EPERM' },
    { number: 2, errno: 'ENOENT' },
    { number: 16, errno: 'EBUSY' },
    { number: 30, errno: 'EROFS' },
    { number: 60_000, errno: 'EIO' },
  ])('a refusal with $number is DEVICE_REFUSED with $errno', async ({ number, errno }) => {
    const server = await world.server({ refusal: () => number });
    await expect(world.open(server)).rejects.toMatchObject({ code: 'DEVICE_REFUSED', errno });
  });

  test('a refusal of the second half only is a refusal, too, and the first half is given up', async () => {
    const server = await world.server({ refusal: ({ half }) => (half === 'receive' ? 16 : 0) });
    await expect(world.open(server)).rejects.toMatchObject({ code: 'DEVICE_REFUSED', errno: 'EBUSY' });
  });

  test('opens the send half first, then the receive half, with one token and one path', async () => {
    const server = await world.server();
    await world.open(server, { access: 'ro' });
    const [first, second] = server.received.map((chunks) => Buffer.concat(chunks));
    const session = await server.session(0);
    expect(server.received).toHaveLength(2);
    expect(session.initial).toMatchObject({ path: '/disk.img', access: 'ro' });
    // Flags and token of the two initial packets.
    expect(first?.readUInt8(20 + 1032)).toBe(5);
    expect(second?.readUInt8(20 + 1032)).toBe(9);
    expect(first?.readUInt32BE(20 + 1035)).toBe(second?.readUInt32BE(20 + 1035));
  });

  test('two halves that disagree are an error', async () => {
    const server = await world.server();
    let half = 0;
    server.behaviour.initialAnswer = (plain) => {
      half += 1;
      return half === 1
        ? plain
        : Buffer.concat([
            plain.subarray(0, 15),
            encodeCapabilities(serverHello({ requestsMax: 7, instanceId: Buffer.alloc(16, 9) })),
          ]);
    };
    await expect(world.open(server)).rejects.toMatchObject({ code: 'DEVICE_OPEN', errno: 'EPROTO' });
  });

  test('tells what is in force after a hello', async () => {
    const features = Features.of(FEATURE.flush, FEATURE.checksum);
    const server = await world.server({ hello: serverHello({ features }) });
    const device = await world.open(server);
    expect(device.can).toEqual({
      read: true,
      write: true,
      flush: true,
      trim: false,
      writeZeroes: false,
      checksum: true,
    });
    expect(device.session).toEqual({
      mode: 'rw',
      isGgmirror: true,
      extensions: ['flush', 'checksum'],
      instanceId: '11'.repeat(16),
      bootId: 'b0'.repeat(16),
      address: '127.0.0.1',
    });
  });

  test('a capability packet of a later revision is longer and understood', async () => {
    const packet = Buffer.concat([encodeCapabilities(serverHello()), Buffer.alloc(100, 0x55)]);
    packet.writeUInt16BE(164, 4);
    packet.writeUInt16BE(2, 6);
    const server = await world.server({
      initialAnswer: (plain) => Buffer.concat([plain.subarray(0, 15), packet]),
    });
    const device = await world.open(server);
    expect(device.session.extensions).toContain('trim');
    await readBytes(device, { offsetBytes: 0, lengthBytes: 512 });
  });

  test('without extensions no hello is said, even to a server that knows it', async () => {
    const server = await world.server();
    const device = await world.open(server, { extensions: false });
    expect(device.session.isGgmirror).toBe(false);
    expect(server.received[0]?.[0]?.readUInt16BE(18)).toBe(0);
  });

  test('a server that says nothing is given up after the time for connecting', async () => {
    const clock = new FakeClock();
    const server = await world.server({ versionAnswer: () => Buffer.alloc(0) });
    const opening = world.open(server, { clock, connectTimeoutMs: 1000 });
    const outcome = expect(opening).rejects.toMatchObject({ code: 'DEVICE_TIMEOUT', errno: 'ETIMEDOUT' });
    await until('the client', () => (server.received[0]?.length ?? 0) > 0);
    clock.advance(1000);
    await outcome;
    expect(clock.timerCount).toBe(0);
  });

  test('nobody listening is DEVICE_OPEN with ECONNREFUSED', async () => {
    const listener = createServer();
    listener.listen(0, '127.0.0.1');
    await once(listener, 'listening');
    const { port } = listener.address() as AddressInfo;
    await new Promise((resolve) => listener.close(resolve));
    const uri = { host: '127.0.0.1', port, path: '/x', isTls: false };
    await expect(openRemote({ uri, access: 'ro' })).rejects.toMatchObject({
      code: 'DEVICE_OPEN',
      errno: 'ECONNREFUSED',
    });
  });

  test('a path that no packet can hold is told before anything is sent', async () => {
    const server = await world.server();
    const uri = { ...remoteOptions(server).uri, path: `/${'x'.repeat(1024)}` };
    await expect(world.open(server, { uri })).rejects.toMatchObject({ errno: 'EPROTO' });
  });
});
