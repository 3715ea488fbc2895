import { afterEach, describe, expect, test } from 'vitest';
import { openRemote } from '../../../src/client/remote-device.js';
import { COMMAND } from '../../../src/protocol/request.js';
import { describeBlockDevice } from '../../support/device-conformance.js';
import { type DeviceServer, serveDevices } from '../../support/device-server.js';
import { FaultDevice } from '../../support/fault-device.js';
import { MemoryDevice } from '../../support/memory-device.js';
import { makeRig } from '../../support/mirror-rig.js';
import { helloOf, RawClients } from '../../support/raw-clients.js';
import { replies, request } from '../../support/requests.js';
import { afterTranscript, bySeq, play, recordedAnswers, REPEATABLE } from '../../support/transcript-play.js';
import { until } from '../../support/until.js';

const PATH = '/dev/mirror/data';
const EBUSY = 16;

let server: DeviceServer | null = null;
const clients = new RawClients(() => ({ port: server?.port ?? 0, path: PATH }));

afterEach(async () => {
  clients.close();
  await server?.close();
  server = null;
});

describe('a recorded FreeBSD client', () => {
  test.each(REPEATABLE)(
    'gets from a session on a device what it got from ggated: $name',
    async ({ name, mode, image }) => {
      const device = new MemoryDevice({ mediaSizeBytes: image.length });
      image.copy(device.data);
      server = await serveDevices(new Map([[PATH, device]]), { allow: [`127.0.0.1,${mode}`] });
      const recorded = recordedAnswers(name);
      const ours = await play(name, server.port, PATH, recorded.length);
      expect(bySeq(replies(ours))).toEqual(bySeq(replies(recorded)));
      expect(device.data.equals(afterTranscript(name, image))).toBe(true);
    },
  );
});

function describeServed(name: string, make: () => MemoryDevice, extensions: boolean): void {
  let own: DeviceServer | null = null;
  describeBlockDevice(
    name,
    async () => {
      own = await serveDevices(new Map([[PATH, make()]]));
      return await openRemote({
        uri: { host: '127.0.0.1', port: own.port, path: PATH, isTls: false },
        access: 'rw',
        extensions,
        backoff: { firstMs: 5, maxMs: 50 },
      });
    },
    async () => await own?.close(),
  );
}

describeServed('our client on a session on a device', () => new MemoryDevice(), true);
describeServed('our client, without a hello, on a session on a device', () => new MemoryDevice(), false);
describeServed(
  'our client on a session on a device that has no extension',
  () => new MemoryDevice({ can: { flush: false, trim: false, writeZeroes: false, checksum: false } }),
  true,
);

describe('our client on a session on a mirror', () => {
  let rig: ReturnType<typeof makeRig>;
  describeBlockDevice(
    'it',
    async () => {
      rig = makeRig({ mediaSizeBytes: 1_048_576 });
      server = await serveDevices(new Map([[PATH, rig.mirror]]));
      return await openRemote({
        uri: { host: '127.0.0.1', port: server.port, path: PATH, isTls: false },
        access: 'rw',
        backoff: { firstMs: 5, maxMs: 50 },
      });
    },
    async () => {
      await server?.close();
      server = null;
      const [one, other] = rig.disks;
      expect(one?.memory.data.equals(other?.memory.data ?? Buffer.alloc(0))).toBe(true);
      await rig.mirror.close();
    },
  );
});

describe('sessions on a device', () => {
  test('are told of in one line each when they begin and end', async () => {
    server = await serveDevices(new Map([[PATH, new MemoryDevice()]]));
    const client = await clients.attach();
    client.write(request(COMMAND.write, 0, 512, 1, Buffer.alloc(512, 7)));
    expect((await client.reply())?.errorNumber).toBe(0);
    expect(server.sessions.sessions.map((session) => session.status())).toMatchObject([
      { peer: '127.0.0.1', access: 'rw', requests: 1, bytesWritten: 512, errors: 0 },
    ]);
    client.receive.socket.end();
    await client.send.closed();
    const { log } = server;
    await until('the end of the session', () =>
      log.lines.some(({ message }) => message.startsWith('detached')),
    );
    expect(log.lines.map(({ level, message }) => `${level} ${message}`)).toEqual([
      'info attached',
      'info detached: detached',
    ]);
    expect(log.lines[1]?.fields).toMatchObject({ peer: '127.0.0.1', export: PATH, mode: 'rw', requests: 1 });
  });

  test('that may write exclude each other, and leave readers alone', async () => {
    server = await serveDevices(new Map([[PATH, new MemoryDevice()]]));
    await clients.attach();
    expect(await clients.attempt({ from: '127.0.0.2' })).toBe(EBUSY);
    expect(await clients.attempt({ from: '127.0.0.2', access: 'wo' })).toBe(EBUSY);
    expect(await clients.attempt({ from: '127.0.0.2', access: 'ro' })).toBe(0);
  });

  test('let a client in again that attaches as soon as it has detached', async () => {
    server = await serveDevices(new Map([[PATH, new MemoryDevice()]]));
    expect(await clients.comeAndGo(10)).toEqual(Array.from({ length: 10 }, () => 0));
  });

  test('are taken over by the same client, which begins when the last write of the old one is done', async () => {
    const memory = new MemoryDevice();
    const device = new FaultDevice(memory, ({ op }) => (op === 'write' ? { kind: 'hold' } : null));
    server = await serveDevices(new Map([[PATH, device]]));
    const old = await clients.attach({ hello: helloOf(1) });
    old.write(request(COMMAND.write, 0, 512, 1, Buffer.alloc(512, 1)));
    await until('the write at the device', () => device.heldCount === 1);
    expect(await clients.attempt({ hello: helloOf(2) })).toBe(EBUSY);
    let isIn = false;
    const coming = clients.attach({ hello: helloOf(1) }).finally(() => (isIn = true));
    await old.send.closed();
    expect(isIn).toBe(false);
    device.plan = () => null;
    device.release();
    const next = await coming;
    next.write(request(COMMAND.read, 0, 512, 1));
    expect((await next.reply())?.body.equals(Buffer.alloc(512, 1))).toBe(true);
  });

  test('of a host that has been silent give way to a new one of that host, never to another', async () => {
    server = await serveDevices(new Map([[PATH, new MemoryDevice()]]), { takeoverSilentMs: 300 });
    const old = await clients.attach();
    await until('the takeover', async () => (await clients.attempt()) === 0);
    expect(await clients.attempt({ from: '127.0.0.2' })).toBe(EBUSY);
    await old.send.closed();
    expect(server.sessions.sessions).toHaveLength(1);
  });

  test('end alone: what one client does to its own leaves the others as they are', async () => {
    const devices = new Map(['/a', '/b'].map((path) => [path, new MemoryDevice({ name: path })]));
    server = await serveDevices(devices);
    const [one, other] = [await clients.attach({ path: '/a' }), await clients.attach({ path: '/b' })];
    one.write(Buffer.alloc(100_000, 0xff));
    one.write(request(COMMAND.write, 0, 4096, 1, Buffer.alloc(4096, 9)).subarray(0, 2000));
    one.close();
    for (let seq = 1; seq <= 20; seq++) {
      other.write(request(COMMAND.write, seq * 512, 512, seq, Buffer.alloc(512, seq)));
      expect(await other.reply()).toMatchObject({ seq, errorNumber: 0 });
    }
    expect(devices.get('/a')?.data.every((byte) => byte === 0)).toBe(true);
  });

  test('finish and answer what is in flight when the server ends, and let nobody in', async () => {
    const device = new FaultDevice(new MemoryDevice(), () => ({ kind: 'hold' }));
    server = await serveDevices(new Map([[PATH, device]]));
    const client = await clients.attach();
    client.write(request(COMMAND.read, 0, 512, 1));
    await until('the read at the device', () => device.heldCount === 1);
    const drained = server.sessions.drain(60_000);
    expect(await clients.attempt({ from: '127.0.0.2', access: 'ro' })).toBe(EBUSY);
    device.release();
    expect(await client.reply()).toMatchObject({ seq: 1, errorNumber: 0 });
    await drained;
    expect(await client.reply()).toBeNull();
  });
});
