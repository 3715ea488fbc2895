import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { probeMedia as systemProbeMedia } from '../../src/device/media.js';
import { encodeClientInitial, encodeVersion } from '../../src/protocol/handshake.js';
import type { ProbedMedia } from '../../src/server/guarded-probe.js';
import { PENDING_PER_HOST_MAX } from '../../src/server/limits.js';
import {
  exportsOf,
  hello,
  initial,
  MEDIA,
  refusedWith,
  startFront,
  welcomed,
  type Front,
} from '../support/front-server.js';
import { makeScratch } from '../support/scratch.js';
import { until } from '../support/until.js';
import { WireClient } from '../support/wire-client.js';

const EXPORTS = '127.0.0.1 RW /disk\n127.0.0.1 RW /hung';
const cleanUp: (() => void)[] = [];

afterEach(() => {
  for (const run of cleanUp.splice(0).reverse()) run();
});

async function start(options: Partial<Parameters<typeof startFront>[0]> = {}): Promise<Front> {
  const front = await startFront({ exports: EXPORTS, ...options });
  cleanUp.push(() => front.close());
  return front;
}

async function connect(front: Front): Promise<WireClient> {
  const client = await WireClient.connect({ port: front.port });
  cleanUp.push(() => client.close());
  return client;
}

/** Both halves of a client that does everything right. */
async function attach(front: Front, path = '/disk'): Promise<void> {
  const sessions = front.sessions.started.length;
  const first = await (await connect(front)).introduce(initial({ path, half: 'send', token: 77 }));
  expect(await first.answer()).toEqual(welcomed);
  await (await connect(front)).introduce(initial({ path, half: 'receive', token: 77 }));
  await front.sessions.session(sessions);
}

describe('clients that do not go on', () => {
  test('a silent one keeps nobody out and is cut off after ten seconds', async () => {
    const front = await start();
    const silent = await connect(front);
    await until('it to be accepted', () => front.server.pendingCount === 1);
    await attach(front);
    expect(silent.isQuiet).toBe(true);
    front.clock.advance(10_000);
    expect(await silent.untilEnd()).toHaveLength(0);
  });

  test('one that sends a byte now and then gets no more time', async () => {
    const front = await start();
    const slow = await connect(front);
    const version = encodeVersion(0);
    for (const at of [0, 1, 2, 3]) {
      slow.send(version.subarray(at, at + 1));
      await until('it to be accepted', () => front.server.pendingCount === 1);
      front.clock.advance(2_400);
    }
    slow.send(version.subarray(4));
    await slow.read(20);
    front.clock.advance(400);
    expect(await slow.untilEnd()).toHaveLength(0);
  });

  test.each([
    { what: 'silent', begin: async (client: WireClient) => Promise.resolve(client) },
    {
      what: 'in the middle of the handshake',
      begin: async (client: WireClient) => {
        await client.send(encodeVersion(0)).read(20);
      },
    },
    {
      what: 'half-open',
      begin: async (client: WireClient, token: number) => {
        await (await client.introduce(initial({ token, half: 'send' }))).answer();
      },
    },
  ])('a hundred of one host, $what, keep out no good client of the same host', async ({ begin }) => {
    const front = await start();
    const crowd: WireClient[] = [];
    for (let index = 0; index < 100; index++) {
      const client = await connect(front);
      await begin(client, 1_000 + index);
      crowd.push(client);
    }
    await until('all to be accepted', () => front.server.pendingCount === PENDING_PER_HOST_MAX);
    await attach(front);
    // The good client's two connections have pushed out the two oldest, and given back their places.
    const isOpen = await until('the oldest to be cut off', () => {
      const quiet = crowd.map((client) => client.isQuiet);
      return quiet.filter(Boolean).length < PENDING_PER_HOST_MAX && quiet;
    });
    expect(isOpen.indexOf(true)).toBeGreaterThanOrEqual(100 - PENDING_PER_HOST_MAX);

    front.clock.advance(10_000);
    await until('all to be cut off', () => crowd.every((client) => !client.isQuiet));
    expect(front.server.pendingCount).toBe(0);
    expect(front.clock.timerCount).toBe(0);
  });

  test('a refused one that stays is cut off after two seconds, whatever it sends meanwhile', async () => {
    const front = await start();
    const client = await connect(front);
    client.socket.allowHalfOpen = true;
    await client.introduce(initial({ path: '/nothing' }));
    expect(await client.answer()).toEqual(refusedWith(1));
    client.send(Buffer.alloc(100_000));
    expect(front.server.pendingCount).toBe(1);
    front.clock.advance(2_000);
    await until('it to be cut off', () => front.server.pendingCount === 0);
  });

  test('a refused one that has said more than was wanted gets its answer whole, and is soon forgotten', async () => {
    const front = await start();
    const client = await connect(front);
    const packets = [encodeVersion(0), encodeClientInitial(initial({ path: '/nothing' }))];
    client.send(Buffer.concat([...packets, Buffer.alloc(300_000)]));
    await client.read(20);
    expect(await client.answer()).toEqual(refusedWith(1));
    await until('it to be forgotten, without the clock', () => front.server.pendingCount === 0);
    expect(client.error).toBeNull();
    expect(front.clock.timerCount).toBe(0);
  });

  test('one that floods while it waits for its other half fills no memory', async () => {
    const front = await start();
    const client = await (await connect(front)).introduce(initial({ half: 'receive' }));
    await client.answer();
    // What neither the server nor the kernel takes stays in the client.
    client.send(Buffer.alloc(64 * 1_048_576));
    await attach(front);
    expect(client.socket.writableLength).toBeGreaterThan(32 * 1_048_576);
    front.clock.advance(10_000);
    await until('it to be cut off', () => client.socket.destroyed);
  });
});

describe('clients that break off', () => {
  const version = encodeVersion(0);
  test.each([
    { what: 'at once', sent: [] },
    { what: 'after the version packet', sent: [version] },
    { what: 'in the initial packet', sent: [version, Buffer.alloc(500, 0x61)] },
    {
      what: 'after a refused initial packet',
      sent: [version, encodeClientInitial(initial({ path: '/no' }))],
    },
    { what: 'as the first half', sent: [version, encodeClientInitial(initial())] },
  ])('with a reset $what end only themselves', async ({ sent }) => {
    const front = await start();
    for (let round = 0; round < 20; round++) {
      const client = (await connect(front)).send(...sent);
      // In half of the rounds the reset comes while the server writes, in the others after it.
      if (round % 2 === 0 && sent.length > 0) await client.read(20);
      client.socket.resetAndDestroy();
    }
    await until('all to be forgotten', () => front.server.pendingCount === 0);
    await attach(front);
    expect(front.log.at('error')).toEqual([]);
  });

  test('while their medium is looked at leave nothing behind', async () => {
    let answer: ((media: ProbedMedia) => void) | null = null;
    const probeMedia = (): Promise<ProbedMedia> => new Promise((resolve) => (answer = resolve));
    const front = await start({ probeMedia });
    const client = await (await connect(front)).introduce(initial());
    const answerProbe = await until('the probe', () => answer);
    client.socket.resetAndDestroy();
    await until('it to be forgotten', () => front.server.pendingCount === 0);
    answerProbe(MEDIA);
    await until('the probe to end', () => front.sessions.asked.length === 1);
    await new Promise(setImmediate);
    expect(front.clock.timerCount).toBe(0);
    expect(front.sessions.started).toEqual([]);
  });

  test('with any bytes whatever never get more than a handshake allows', async () => {
    const front = await start();
    const good = Buffer.concat([version, encodeClientInitial(initial({ path: '/no' }))]);
    await fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ maxLength: 40 }),
        fc.nat(good.length),
        fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { maxLength: 4 }),
        async (noise, cutAt, flips) => {
          const bytes = Buffer.from(good);
          for (const [at, value] of flips) bytes.writeUInt8(value, at);
          const client = await connect(front);
          client.send(Buffer.concat([bytes.subarray(0, cutAt), noise]));
          client.socket.end();
          const received = await client.untilEnd();
          // A version packet, and then at most a refusal or, where a flip made the path right, a welcome.
          expect([0, 20, 35]).toContain(received.length);
        },
      ),
      { numRuns: 60 },
    );
    await attach(front);
    expect(front.log.at('error')).toEqual([]);
  });
});

describe('answers', () => {
  test('to a refused client have no byte of our memory in them', async () => {
    const front = await start();
    for (const greeting of [null, hello()]) {
      const client = await (await connect(front)).introduce(initial({ path: '/nothing' }), greeting);
      expect((await client.untilEnd()).toString('hex')).toBe('00'.repeat(13) + '0001');
    }
  });
});

describe('media that are none', () => {
  test('a folder, a pipe, a socket, a terminal and nothing are refused, and the server goes on', async () => {
    const scratch = makeScratch();
    cleanUp.push(() => scratch.remove());
    mkdirSync(scratch.path('folder'));
    execFileSync('mkfifo', [scratch.path('pipe')]);
    const socketServer = createServer().listen(scratch.path('socket'));
    await once(socketServer, 'listening');
    cleanUp.push(() => socketServer.close());
    writeFileSync(scratch.path('disk'), Buffer.alloc(65_536));
    const paths = ['folder', 'pipe', 'socket', 'nothing', 'disk'].map((name) => scratch.path(name));
    const front = await start({
      exports: [...paths, '/dev/tty'].map((path) => `127.0.0.1 RW ${path}`).join('\n'),
      probeMedia: systemProbeMedia,
    });
    const errorOf = async (path: string): Promise<number> =>
      (await (await (await connect(front)).introduce(initial({ path, token: 5 }))).answer()).errorNumber;

    expect(await errorOf(scratch.path('folder'))).toBe(21);
    expect(await errorOf(scratch.path('pipe'))).toBe(79);
    expect(await errorOf(scratch.path('socket'))).toBe(79);
    expect(await errorOf(scratch.path('nothing'))).toBe(2);
    expect(await errorOf('/dev/tty')).not.toBe(0);
    await attach(front, scratch.path('disk'));
    expect(front.log.at('warn')).toHaveLength(5);
  });

  test('a disk that hangs holds up nobody else, and is asked once however many come', async () => {
    let probes = 0;
    let comeBack: (media: ProbedMedia) => void = () => undefined;
    const front = await start({
      probeMedia: async (path) => {
        if (path === '/disk') return Promise.resolve(MEDIA);
        probes += 1;
        return new Promise<ProbedMedia>((resolve) => (comeBack = resolve));
      },
    });
    const ask = async (): Promise<WireClient> =>
      (await connect(front)).introduce(initial({ path: '/hung', token: 8 }));
    const early = [await ask(), await ask(), await ask()];
    await until('the probe', () => probes === 1);
    await attach(front);

    front.clock.advance(10_000);
    for (const client of early) expect(await client.answer()).toEqual(refusedWith(60));
    expect(await (await ask()).answer()).toEqual(refusedWith(60));
    expect(probes).toBe(1);

    comeBack(MEDIA);
    const late = ask();
    await until('a new probe', () => probes === 2);
    comeBack(MEDIA);
    expect(await (await late).answer()).toEqual(welcomed);
  });

  test('a question about running sessions that nobody answers is answered after ten seconds', async () => {
    const front = await start();
    front.sessions.refusal = new Promise(() => undefined);
    const client = await (await connect(front)).introduce(initial());
    await until('the question', () => front.sessions.asked.length === 1);
    expect(client.isQuiet).toBe(true);
    front.clock.advance(10_000);
    expect(await client.answer()).toEqual(refusedWith(60));
    front.sessions.refusal = null;
    await attach(front);
  });

  test('a medium that is no longer exported when it has been looked at is not served', async () => {
    let answer: ((media: ProbedMedia) => void) | null = null;
    const probeMedia = (): Promise<ProbedMedia> => new Promise((resolve) => (answer = resolve));
    const front = await start({ probeMedia });
    const client = await (await connect(front)).introduce(initial());
    const answerProbe = await until('the probe', () => answer);
    front.server.reload(exportsOf('127.0.0.1 RO /disk'));
    answerProbe(MEDIA);
    expect(await client.answer()).toEqual(refusedWith(1));
  });

  test('a medium that changes between the halves ends the newcomer', async () => {
    let mediaSizeBytes = 65_536;
    const front = await start({ probeMedia: async () => Promise.resolve({ ...MEDIA, mediaSizeBytes }) });
    await (await (await connect(front)).introduce(initial({ half: 'send' }))).answer();
    mediaSizeBytes = 131_072;
    const second = await (await connect(front)).introduce(initial({ half: 'receive' }));
    expect(await second.answer()).toEqual(refusedWith(5));
  });
});

describe('the log', () => {
  test('has one line for a host that sends garbage, and then how many more it was', async () => {
    const front = await start();
    const sendGarbage = async (): Promise<void> => {
      const client = (await connect(front)).send(Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n'));
      await client.untilEnd();
    };
    for (let count = 0; count < 5; count++) await sendGarbage();
    expect(front.log.lines).toMatchObject([
      { level: 'warn', fields: { peer: '127.0.0.1', reason: 'the peer does not speak the ggate protocol' } },
    ]);
    front.clock.advance(10_000);
    await sendGarbage();
    expect(front.log.lines[1]?.fields).toMatchObject({ suppressed: 4 });
  });

  test('does not mention, but at the level for debugging, who comes and goes without a byte', async () => {
    const front = await start();
    (await connect(front)).close();
    await until('it to be logged', () => front.log.lines.length === 1);
    expect(front.log.lines[0]?.level).toBe('debug');
  });
});

describe('the end of the server', () => {
  test('drops who has no session, keeps who has one, and lets nobody in', async () => {
    const front = await start();
    await attach(front);
    const silent = await connect(front);
    const waiting = await (await connect(front)).introduce(initial({ token: 3 }));
    await waiting.answer();
    await until('both to be known', () => front.server.pendingCount === 2);
    front.server.close();
    front.server.close();
    await Promise.all([silent.untilEnd(), waiting.untilEnd()]);
    await expect(WireClient.connect({ port: front.port })).rejects.toThrow('ECONNREFUSED');
    const { send, receive } = await front.sessions.session(0);
    expect([send.destroyed, receive.destroyed]).toEqual([false, false]);
    expect(front.clock.timerCount).toBe(0);
  });
});
