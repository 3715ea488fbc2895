import dns from 'node:dns';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { RemoteDevice } from '../../src/client/remote-device.js';
import type { RemoteEvents } from '../../src/client/options.js';
import type { BlockOp, DeviceError } from '../../src/device/block-device.js';
import { COMMAND } from '../../src/protocol/request.js';
import { FEATURE, Features } from '../../src/protocol/capabilities.js';
import { FakeClock } from '../support/fake-clock.js';
import { serverHello, type FakeServer } from '../support/fake-server.js';
import { flush, pattern, readBytes, start, writeBytes } from '../support/device-requests.js';
import { RemoteWorld } from '../support/remote.js';
import { until } from '../support/until.js';

let world: RemoteWorld;
beforeEach(() => (world = new RemoteWorld()));
afterEach(async () => {
  vi.restoreAllMocks();
  await world.end();
});

/** Everything that the device tells, in words. */
function recorder(): { readonly log: string[]; readonly events: RemoteEvents } {
  const log: string[] = [];
  return {
    log,
    events: {
      connected: () => log.push('connected'),
      lost: ({ code }) => log.push(`lost ${code}`),
      attemptFailed: (_attempt, { code, errno }) => log.push(`failed ${code} ${errno}`),
      restarted: ({ certain, unflushed }) =>
        log.push(`restarted${certain ? ' certainly' : ''}${unflushed ? ' unflushed' : ''}`),
      gaveUp: ({ code }) => log.push(`gave up ${code}`),
      changed: ({ code }) => log.push(`changed ${code}`),
    },
  };
}

const sector = (index: number) => ({ offsetBytes: index * 512, lengthBytes: 512 });

function writes(device: RemoteDevice, count: number): Promise<DeviceError | null>[] {
  return Array.from({ length: count }, (_, index) =>
    start(device, 'write', sector(index), pattern(512, index)),
  );
}

async function received(server: FakeServer, session: number, count: number): Promise<void> {
  await until(`${count} requests`, () => (server.sessions[session]?.requests.length ?? 0) >= count);
}

async function attached(device: RemoteDevice): Promise<void> {
  await until('the connection', () => device.isConnected);
}

/** Lets real sockets do what they have to while the fake clock stands; moves it until the device is connected again. */
async function attachedByClock(device: RemoteDevice, clock: FakeClock): Promise<void> {
  await until('the next connection', () => {
    if (!device.isConnected) clock.advance(100);
    return device.isConnected;
  });
}

describe('a lost connection', () => {
  test('is made anew, and what was in flight is sent again with the same numbers in the same order', async () => {
    const { log, events } = recorder();
    const server = await world.server({ answers: false });
    const device = await world.open(server, { events });
    const outcomes = writes(device, 5);
    await received(server, 0, 5);
    server.behaviour.answers = true;
    server.sessions[0]?.drop();
    expect(await Promise.all(outcomes)).toEqual([null, null, null, null, null]);
    expect(server.sessions[1]?.requests.map(({ seq }) => seq)).toEqual([1, 2, 3, 4, 5]);
    expect(server.disk.subarray(1024, 1536).equals(pattern(512, 2))).toBe(true);
    expect(log).toEqual(['connected', 'lost DEVICE_LOST', 'connected']);
    expect(device.stats).toMatchObject({ reconnects: 1, replayed: 5, requests: 5 });
  });

  test('keeps the order of overlapping writes, also of one that was started in between', async () => {
    const server = await world.server({ answers: false });
    const device = await world.open(server);
    const first = start(device, 'write', sector(0), pattern(512, 1));
    await received(server, 0, 1);
    server.behaviour.answers = true;
    server.sessions[0]?.drop();
    const second = start(device, 'write', sector(0), pattern(512, 2));
    await Promise.all([first, second]);
    expect(server.disk.subarray(0, 512).equals(pattern(512, 2))).toBe(true);
    expect(server.sessions[1]?.requests.map(({ seq }) => seq)).toEqual([1, 2]);
  });

  test('has the same instance id and another token at each connect', async () => {
    const server = await world.server();
    const device = await world.open(server);
    server.sessions[0]?.drop();
    await server.session(1);
    await attached(device);
    const [first, second] = server.sessions;
    expect(second?.initial.token).not.toBe(first?.initial.token);
    expect(second?.hello?.instanceId).toEqual(first?.hello?.instanceId);
  });

  test('fails what is in flight if the caller wants that, and new requests until it stands again', async () => {
    const server = await world.server({ answers: false });
    const device = await world.open(server, { onConnectionLost: 'fail', backoff: { firstMs: 50 } });
    const outcomes = writes(device, 300);
    await received(server, 0, 200);
    server.sessions[0]?.drop();
    const errors = await Promise.all(outcomes);
    expect(errors.every((error) => error?.code === 'DEVICE_LOST')).toBe(true);
    expect(device.isConnected).toBe(false);
    expect((await start(device, 'read', sector(0), Buffer.alloc(512)))?.code).toBe('DEVICE_LOST');
    server.behaviour.answers = true;
    await attached(device);
    await readBytes(device, sector(0));
    // None of the failed ones came again.
    expect(server.sessions[1]?.requests).toHaveLength(1);
  });

  test('stays away from an export that somebody else has written, until it is again what it was', async () => {
    const { log, events } = recorder();
    let mayHold: 'anything' | 'zeroes' = 'anything';
    const zeroes = {
      ...sector(3),
      holds: (bytes: Buffer) => mayHold === 'anything' || bytes.equals(Buffer.alloc(512)),
    };
    const server = await world.server();
    const device = await world.open(server, {
      onConnectionLost: 'fail',
      backoff: { firstMs: 20, maxMs: 40 },
      returnCheck: () => zeroes,
      events,
    });
    await writeBytes(device, 3 * 512, pattern(512, 1));
    mayHold = 'zeroes';
    server.sessions[0]?.drop();
    await until('two attempts', () => log.filter((line) => line.includes('DEVICE_CHANGED')).length >= 2);
    expect(device.isConnected).toBe(false);
    mayHold = 'anything';
    await attached(device);
    await readBytes(device, sector(3));
  });

  test('waits longer from attempt to attempt, up to a limit, and begins small again after an answer', async () => {
    const clock = new FakeClock();
    const delays: number[] = [];
    const events = { reconnecting: (_attempt: number, delayMs: number) => delays.push(delayMs) };
    const server = await world.server();
    // The middle of the variation.
    const random = {
      nextU32: () => 2 ** 31,
      nextBytes: (lengthBytes: number) => Buffer.alloc(lengthBytes, 7),
    };
    const backoff = { firstMs: 200, maxMs: 1500 };
    const device = await world.open(server, { clock, random, events, backoff });
    const port = await server.stop();
    await until('the loss', () => delays.length === 1);
    for (const delayMs of [200, 400, 800, 1500]) {
      clock.advance(delayMs - 1);
      const before = delays.length;
      clock.advance(1);
      await until('the next attempt', () => delays.length > before);
    }
    expect(delays).toEqual([200, 400, 800, 1500, 1500]);
    await server.listen(port);
    clock.advance(1500);
    await attached(device);
    await readBytes(device, sector(0));
    server.sessions.at(-1)?.drop();
    await until('the next loss', () => delays.length === 6);
    expect(delays[5]).toBe(200);
    await attachedByClock(device, clock);
  });

  test('does not hurry back to a server that dies of each request', async () => {
    const attempts: number[] = [];
    const server = await world.server({ onRequest: (_request, session) => session.drop() });
    const events = { reconnecting: (attempt: number) => attempts.push(attempt) };
    const device = await world.open(server, { events });
    const outcome = start(device, 'write', sector(0), pattern(512, 1));
    await until('several attempts', () => attempts.length >= 4);
    expect(attempts.slice(0, 4)).toEqual([1, 2, 3, 4]);
    server.behaviour.onRequest = null;
    expect(await outcome).toBeNull();
  });

  test('is tried again whatever the server says: refusals are told by event', async () => {
    const { log, events } = recorder();
    const server = await world.server();
    const device = await world.open(server, { events });
    const refusals = [1, 16, 2];
    server.behaviour.refusal = () => refusals.shift() ?? 0;
    server.sessions[0]?.drop();
    await until('the loss', () => log.length > 1);
    await attached(device);
    expect(log).toEqual([
      'connected',
      'lost DEVICE_LOST',
      'failed DEVICE_REFUSED EPERM',
      'failed DEVICE_REFUSED EBUSY',
      'failed DEVICE_REFUSED ENOENT',
      'connected',
    ]);
    await readBytes(device, sector(0));
  });

  test.each([{ mediaSizeBytes: 2_097_152 }, { sectorSizeBytes: 4096 }])(
    'to an export that comes back with %o fails everything for good',
    async (change) => {
      const { log, events } = recorder();
      const server = await world.server({ answers: false });
      const device = await world.open(server, { events });
      const outcomes = writes(device, 3);
      await received(server, 0, 3);
      Object.assign(server.behaviour, change);
      server.sessions[0]?.drop();
      const errors = await Promise.all(outcomes);
      expect(errors.map((error) => error?.code)).toEqual([
        'DEVICE_CHANGED',
        'DEVICE_CHANGED',
        'DEVICE_CHANGED',
      ]);
      expect((await start(device, 'read', sector(0), Buffer.alloc(512)))?.code).toBe('DEVICE_CHANGED');
      expect(log).toEqual(['connected', 'lost DEVICE_LOST', 'changed DEVICE_CHANGED']);
    },
  );

  test('looks up the name anew for each attempt, and leads both halves to one host', async () => {
    const server = await world.server();
    let lookups = 0;
    const answer = (_name: string, options: { all?: boolean }, done: (...found: unknown[]) => void): void => {
      lookups += 1;
      // Every second lookup names a host where nobody listens: a second half that asked again would miss the first.
      const address = lookups % 2 === 1 ? '127.0.0.1' : '127.0.0.9';
      queueMicrotask(() =>
        options.all === true ? done(null, [{ address, family: 4 }]) : done(null, address, 4),
      );
    };
    vi.spyOn(dns, 'lookup').mockImplementation(answer as unknown as typeof dns.lookup);
    const uri = { host: 'backup.test', port: server.port, path: '/disk.img', isTls: false };
    const { log, events } = recorder();
    const device = await world.open(server, { uri, events });
    expect(lookups).toBe(1);
    server.sessions[0]?.drop();
    await until('the loss', () => log.length > 1);
    await attached(device);
    expect(lookups).toBe(3);
    expect(log).toEqual(['connected', 'lost DEVICE_LOST', 'failed DEVICE_OPEN ECONNREFUSED', 'connected']);
  });

  test('to a server without an extension that was in force refuses what needs it, and nothing else', async () => {
    const server = await world.server({ answers: false });
    const device = await world.open(server);
    const trim = start(device, 'trim', sector(0));
    const write = start(device, 'write', sector(1), pattern(512, 1));
    await received(server, 0, 2);
    server.behaviour.hello = serverHello({ features: Features.of(FEATURE.flush) });
    server.behaviour.answers = true;
    server.sessions[0]?.drop();
    expect((await trim)?.errno).toBe('EOPNOTSUPP');
    expect(await write).toBeNull();
    expect((await start(device, 'write-zeroes', sector(0)))?.errno).toBe('EOPNOTSUPP');
    const commands = server.sessions[1]?.requests.map(({ command }) => command);
    expect(commands).toEqual([COMMAND.write]);
  });
});

describe('a server that is silent', () => {
  test('is cut off after the time for a request, and everything is replayed to the next session', async () => {
    const clock = new FakeClock();
    const { log, events } = recorder();
    const server = await world.server({ answers: false });
    const device = await world.open(server, { clock, events, requestTimeoutMs: 3000 });
    const outcomes = writes(device, 3);
    await received(server, 0, 3);
    clock.advance(2999);
    expect(device.isConnected).toBe(true);
    server.behaviour.answers = true;
    clock.advance(1);
    expect(device.isConnected).toBe(false);
    await attachedByClock(device, clock);
    expect(await Promise.all(outcomes)).toEqual([null, null, null]);
    expect(log).toEqual(['connected', 'lost DEVICE_TIMEOUT', 'connected']);
  });

  test('has its time once more when our own program stood still', async () => {
    const clock = new FakeClock();
    const server = await world.server({ answers: false });
    const device = await world.open(server, { clock, requestTimeoutMs: 3000, onConnectionLost: 'fail' });
    const outcomes = writes(device, 1);
    await received(server, 0, 1);
    for (const isLost of [false, true]) {
      clock.advance(1000);
      clock.standStill(60_000);
      clock.advance(0);
      expect(device.isConnected).toBe(!isLost);
    }
    await Promise.all(outcomes);
  });

  test('is reset, so that nothing from the old connection can reach the disk after the new one', async () => {
    const clock = new FakeClock();
    const server = await world.server({ answers: false });
    const device = await world.open(server, { clock, requestTimeoutMs: 3000 });
    const resets: unknown[] = [];
    const session = await server.session(0);
    session.halves.receive?.on('error', (error) => resets.push(error));
    const outcome = start(device, 'write', sector(0), pattern(512, 1));
    await received(server, 0, 1);
    clock.advance(3000);
    await until('the reset', () => resets.length > 0);
    expect(resets).toMatchObject([{ code: 'ECONNRESET' }]);
    server.behaviour.answers = true;
    await attachedByClock(device, clock);
    await outcome;
  });

  test('fails its requests with DEVICE_TIMEOUT if the caller wants that', async () => {
    const clock = new FakeClock();
    const server = await world.server({ answers: false });
    const device = await world.open(server, { clock, requestTimeoutMs: 3000, onConnectionLost: 'fail' });
    const outcomes = writes(device, 2);
    await received(server, 0, 2);
    clock.advance(3000);
    expect((await Promise.all(outcomes)).map((error) => [error?.code, error?.errno])).toEqual([
      ['DEVICE_TIMEOUT', 'ETIMEDOUT'],
      ['DEVICE_TIMEOUT', 'ETIMEDOUT'],
    ]);
  });

  test('is given up with everything that waits for it, when a limit is set, however often it lets us in', async () => {
    const clock = new FakeClock();
    const { log, events } = recorder();
    const server = await world.server({ answers: false });
    const device = await world.open(server, { clock, events, requestTimeoutMs: 3000, giveUpMs: 10_000 });
    const outcomes = writes(device, 2);
    await received(server, 0, 2);
    const queued = until('the end', async () => {
      clock.advance(500);
      await new Promise((resolve) => setImmediate(resolve));
      return log.includes('gave up DEVICE_TIMEOUT');
    });
    const errors = await Promise.all(outcomes);
    await queued;
    expect(errors.map((error) => error?.code)).toEqual(['DEVICE_TIMEOUT', 'DEVICE_TIMEOUT']);
    expect((await start(device, 'read', sector(0), Buffer.alloc(512)))?.code).toBe('DEVICE_LOST');
    server.behaviour.answers = true;
    await attachedByClock(device, clock);
    await readBytes(device, sector(0));
  });

  test('is found by a ping while nothing else is to be said', async () => {
    const clock = new FakeClock();
    const { log, events } = recorder();
    const server = await world.server({ hello: serverHello({ keepAliveMs: 2000 }) });
    const device = await world.open(server, { clock, events, requestTimeoutMs: 3000 });
    clock.advance(2000);
    await received(server, 0, 1);
    expect(server.sessions[0]?.requests[0]).toMatchObject({ command: COMMAND.ping, lengthBytes: 0 });
    await until('the answer', () => device.stats.requests === 1);
    server.behaviour.answers = false;
    clock.advance(2000);
    await received(server, 0, 2);
    clock.advance(3000);
    expect(log).toEqual(['connected', 'lost DEVICE_TIMEOUT']);
    server.behaviour.answers = true;
    await attachedByClock(device, clock);
  });

  test('gets no ping while requests go to it, nor without a hello', async () => {
    const clock = new FakeClock();
    const server = await world.server({ hello: serverHello({ keepAliveMs: 2000 }) });
    const device = await world.open(server, { clock });
    for (let round = 0; round < 4; round++) {
      clock.advance(1500);
      await readBytes(device, sector(round));
    }
    expect(server.sessions[0]?.requests.every(({ command }) => command === COMMAND.read)).toBe(true);
    const old = await world.server({ hello: null });
    const plain = await world.open(old, { clock });
    clock.advance(100_000);
    await readBytes(plain, sector(0));
    expect(old.sessions[0]?.requests.map(({ command }) => command)).toEqual([COMMAND.read]);
  });
});

describe('a flush', () => {
  const otherBoot = serverHello({ bootId: Buffer.alloc(16, 0xb1), instanceId: Buffer.alloc(16, 0x12) });
  const sameBoot = serverHello({ instanceId: Buffer.alloc(16, 0x12) });
  const unknownBoot = serverHello({ bootId: Buffer.alloc(16) });

  async function reconnected(server: FakeServer, device: RemoteDevice): Promise<void> {
    const count = server.sessions.length;
    server.sessions.at(-1)?.drop();
    await server.session(count);
    await attached(device);
  }

  test.each([
    { what: 'another boot id', hello: otherBoot, told: 'restarted certainly unflushed' },
    { what: 'no boot id', hello: unknownBoot, told: 'restarted unflushed' },
  ])('fails once after acknowledged writes and a reconnect with $what', async ({ hello, told }) => {
    const { log, events } = recorder();
    const server = await world.server();
    const device = await world.open(server, { events });
    await writeBytes(device, 0, pattern(512, 1));
    server.behaviour.hello = hello;
    await reconnected(server, device);
    expect(log).toEqual(['connected', 'lost DEVICE_LOST', told, 'connected']);
    await expect(flush(device)).rejects.toMatchObject({ code: 'DEVICE_LOST', errno: 'EIO' });
    await flush(device);
  });

  test('that waits while the host restarts fails as well, and the next one is good', async () => {
    const server = await world.server();
    const device = await world.open(server);
    await writeBytes(device, 0, pattern(512, 1));
    server.behaviour.answers = false;
    const waiting = start(device, 'flush', { offsetBytes: 0, lengthBytes: 0 });
    await received(server, 0, 2);
    server.behaviour.hello = otherBoot;
    server.behaviour.answers = true;
    server.sessions[0]?.drop();
    expect((await waiting)?.code).toBe('DEVICE_LOST');
    await attached(device);
    await flush(device);
  });

  test.each([
    { what: 'only the program was restarted', hello: sameBoot, prepare: ['write'] },
    { what: 'everything had been flushed', hello: otherBoot, prepare: ['write', 'flush'] },
    { what: 'nothing had been written', hello: otherBoot, prepare: ['read'] },
  ] as const)('is good after a reconnect when $what', async ({ hello, prepare }) => {
    const server = await world.server();
    const device = await world.open(server);
    for (const op of prepare) await perform(device, op);
    server.behaviour.hello = hello;
    await reconnected(server, device);
    await flush(device);
  });

  test('does not cover a write that was acknowledged after it was sent', async () => {
    const server = await world.server();
    const device = await world.open(server);
    await perform(device, 'write');
    // The flush waits at the server while a write is acknowledged.
    let release: () => void = () => undefined;
    server.behaviour.onRequest = (request, session) => {
      if (request.command === COMMAND.flush) release = () => session.serve(request);
      else session.serve(request);
    };
    const early = start(device, 'flush', { offsetBytes: 0, lengthBytes: 0 });
    await perform(device, 'write');
    release();
    expect(await early).toBeNull();
    server.behaviour.onRequest = null;
    server.behaviour.hello = otherBoot;
    await reconnected(server, device);
    await expect(flush(device)).rejects.toMatchObject({ code: 'DEVICE_LOST' });
  });

  test.each(['trim', 'write-zeroes'] as const)('counts a %s as a write that may be lost', async (op) => {
    const server = await world.server();
    const device = await world.open(server);
    await perform(device, op);
    server.behaviour.hello = otherBoot;
    await reconnected(server, device);
    await expect(flush(device)).rejects.toMatchObject({ code: 'DEVICE_LOST' });
  });

  async function perform(device: RemoteDevice, op: BlockOp): Promise<void> {
    if (op === 'flush') await flush(device);
    else if (op === 'write') await writeBytes(device, 0, pattern(512, 1));
    else if (op === 'read') await readBytes(device, sector(0));
    else expect(await start(device, op, sector(0))).toBeNull();
  }
});
