import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  FEATURE,
  Features,
  decodeCapabilities,
  encodeCapabilities,
} from '../../src/protocol/capabilities.js';
import {
  CLIENT_INITIAL,
  HELLO,
  encodeClientInitial,
  encodeVersion,
  type Half,
} from '../../src/protocol/handshake.js';
import {
  exportsOf,
  hello,
  IDENTITY,
  initial,
  MEDIA,
  refusedWith,
  startFront,
  welcomed,
  type Front,
} from '../support/front-server.js';
import { until } from '../support/until.js';
import { WireClient } from '../support/wire-client.js';

let front: Front;
const clients: WireClient[] = [];

beforeEach(async () => {
  front = await startFront({ exports: '127.0.0.0/8 RW /disk\n127.0.0.0/8 RW /other' });
});
afterEach(() => {
  for (const client of clients.splice(0)) client.close();
  front.close();
});

async function connect(localAddress = '127.0.0.1'): Promise<WireClient> {
  const client = await WireClient.connect({ port: front.port, localAddress });
  clients.push(client);
  return client;
}

/** A first half that waits for its other half. */
async function waitingFirst(localAddress?: string): Promise<WireClient> {
  const first = await (await connect(localAddress)).introduce(initial({ half: 'send' }));
  expect(await first.answer()).toEqual(welcomed);
  return first;
}

describe('two halves', () => {
  const order: { firstHalf: Half; lastHalf: Half }[] = [
    { firstHalf: 'send', lastHalf: 'receive' },
    { firstHalf: 'receive', lastHalf: 'send' },
  ];
  test.each(order)('$firstHalf and then $lastHalf become a session', async ({ firstHalf, lastHalf }) => {
    const first = await (await connect()).introduce(initial({ half: firstHalf, token: 0xffff_ffff }));
    expect(await first.answer()).toEqual(welcomed);
    const last = await (await connect()).introduce(initial({ half: lastHalf, token: 0xffff_ffff }));
    const halves = await front.sessions.session(0);

    expect(halves).toMatchObject({ ...MEDIA, last: lastHalf, keepAliveMs: 0, features: Features.none });
    expect(halves.request).toMatchObject({
      path: '/disk',
      access: 'rw',
      hello: null,
      peer: { address: '127.0.0.1', certificateName: null, certificateNames: [] },
    });
    expect({ send: halves.send.remotePort, receive: halves.receive.remotePort }).toEqual({
      [firstHalf]: first.socket.localPort,
      [lastHalf]: last.socket.localPort,
    });

    // The last answer is the session's to give, and these are its bytes.
    expect(last.isQuiet).toBe(true);
    halves[lastHalf].write(halves.welcome);
    expect(await last.answer()).toEqual(welcomed);
    expect(front.server.pendingCount).toBe(0);
    expect(front.clock.timerCount).toBe(0);
  });

  test('are handed over paused, without listeners, and with what came behind the handshake', async () => {
    await waitingFirst();
    const last = await connect();
    const packets = [encodeVersion(0), encodeClientInitial(initial({ half: 'receive' }))];
    last.send(Buffer.concat([...packets, Buffer.from('requests')]));
    const { receive, send } = await front.sessions.session(0);
    for (const socket of [receive, send]) {
      expect(socket.isPaused()).toBe(true);
      for (const event of ['readable', 'data', 'close']) expect(socket.listenerCount(event), event).toBe(0);
      expect(socket.listenerCount('error')).toBeGreaterThan(0);
    }
    expect(String(receive.read())).toBe('requests');
    last.send(Buffer.from('more'));
    const more: Buffer[] = [];
    receive.on('data', (chunk: Buffer) => more.push(chunk)).resume();
    await until('more', () => Buffer.concat(more).toString() === 'more');
  });

  test('of which one has neither SEND nor RECV: that is the receive half', async () => {
    const packet = encodeClientInitial(initial());
    packet.fill(0, CLIENT_INITIAL.flagsAt, CLIENT_INITIAL.flagsAt + 8);
    const first = (await connect()).send(encodeVersion(0), packet);
    await first.read(20);
    await first.answer();
    await (await connect()).introduce(initial({ half: 'send' }));
    expect((await front.sessions.session(0)).last).toBe('send');
  });

  test('that start together become one session', async () => {
    const [one, other] = await Promise.all([connect(), connect()]);
    await Promise.all([
      one.introduce(initial({ half: 'send' })),
      other.introduce(initial({ half: 'receive' })),
    ]);
    await front.sessions.session(0);
    expect(front.sessions.started).toHaveLength(1);
  });

  test('of many clients with tokens of their own are not mixed up', async () => {
    const tokens = [1, 2, 3, 4, 5, 6, 7, 8];
    const open = (half: Half): Promise<WireClient[]> =>
      Promise.all(tokens.map(async (token) => (await connect()).introduce(initial({ token, half }))));
    const firsts = await open('send');
    await Promise.all(firsts.map((client) => client.answer()));
    const lasts = await open('receive');
    await until('all sessions', () => front.sessions.started.length === tokens.length);
    const pairs = front.sessions.started.map(({ send, receive }) => [send.remotePort, receive.remotePort]);
    const expected = tokens.map((_, index) => [
      firsts[index]?.socket.localPort,
      lasts[index]?.socket.localPort,
    ]);
    expect(new Set(pairs.map(String))).toEqual(new Set(expected.map(String)));
  });

  test.each([
    { what: 'another path', fields: { path: '/other' }, number: 1 },
    { what: 'another mode', fields: { access: 'ro' as const }, number: 1 },
    { what: 'the same direction', fields: { half: 'send' as const }, number: 17 },
  ])('of which the second has $what: it is refused, the first waits on', async ({ fields, number }) => {
    const first = await waitingFirst();
    const wrong = await (await connect()).introduce(initial({ half: 'receive', ...fields }));
    expect(await wrong.answer()).toEqual(refusedWith(number));
    expect(await wrong.untilEnd()).toHaveLength(0);
    expect(first.isQuiet).toBe(true);

    await (await connect()).introduce(initial({ half: 'receive' }));
    expect((await front.sessions.session(0)).send.remotePort).toBe(first.socket.localPort);
  });

  // Only Linux answers to all of 127.0.0.0/8 without set-up.
  test.runIf(process.platform === 'linux')(
    'of two hosts, one of which has guessed the token: it is refused, the first waits on',
    async () => {
      const first = await waitingFirst();
      const guess = await (await connect('127.0.0.2')).introduce(initial({ half: 'receive' }));
      expect(await guess.answer()).toEqual(refusedWith(1));
      await (await connect()).introduce(initial({ half: 'receive' }));
      const { send, receive } = await front.sessions.session(0);
      expect(send.remotePort).toBe(first.socket.localPort);
      expect(receive.remoteAddress).toBe('127.0.0.1');
    },
  );

  test('of which the second may not read the export any more: the first is not harmed by that', async () => {
    const first = await waitingFirst();
    front.server.reload(exportsOf('127.0.0.1 RO /disk'));
    const wrong = await (await connect()).introduce(initial({ half: 'receive' }));
    expect(await wrong.answer()).toEqual(refusedWith(1));
    expect(first.isQuiet).toBe(true);
  });

  test('of which the first went away: the second becomes the first of another session', async () => {
    const gone = await waitingFirst();
    gone.close();
    await until('the server to forget it', () => front.server.pendingCount === 0);
    expect(front.clock.timerCount).toBe(0);
    const second = await (await connect()).introduce(initial({ half: 'receive' }));
    expect(await second.answer()).toEqual(welcomed);
  });

  test('of which the second never comes: the first is closed after ten seconds, by a timer', async () => {
    const first = await waitingFirst();
    front.clock.advance(9_999);
    expect(front.server.pendingCount).toBe(1);
    front.clock.advance(1);
    expect(await first.untilEnd()).toHaveLength(0);
    await until('the server to forget it', () => front.server.pendingCount === 0);
    expect(front.clock.timerCount).toBe(0);
  });
});

describe('after a hello', () => {
  test('both halves hear the same capabilities, with the features that both sides know', async () => {
    const first = await (await connect()).introduce(initial({ half: 'send' }), hello());
    expect(await first.answer()).toEqual(welcomed);
    const packet = await first.read(64);
    const features = Features.of(FEATURE.flush, FEATURE.keepAlive);
    expect(decodeCapabilities(packet)).toEqual({
      features,
      ...IDENTITY,
      requestBytesMax: 1_048_576,
      keepAliveMs: 5_000,
      requestsMax: 1_024,
    });
    await (await connect()).introduce(initial({ half: 'receive' }), hello());
    const halves = await front.sessions.session(0);
    expect(halves.welcome.subarray(15)).toEqual(packet);
    expect(halves).toMatchObject({ features, keepAliveMs: 5_000 });
    expect(halves.request.hello).toEqual(hello());
  });

  test('a client without keep-alive is promised none', async () => {
    const features = Features.of(FEATURE.trim);
    const first = await (await connect()).introduce(initial(), hello({ features }));
    await first.answer();
    expect(decodeCapabilities(await first.read(64))).toMatchObject({ keepAliveMs: 0, features });
  });

  test('a client is promised no trim on a medium that can not', async () => {
    const fussy = await startFront({
      exports: '127.0.0.1 RW /disk',
      probeMedia: async () => Promise.resolve({ ...MEDIA, features: Features.all.without(FEATURE.trim) }),
    });
    const client = await WireClient.connect({ port: fussy.port });
    await client.introduce(initial(), hello({ features: Features.all }));
    await client.answer();
    const { features } = decodeCapabilities(await client.read(64));
    expect(features).toEqual(Features.all.without(FEATURE.trim));
    client.close();
    fussy.close();
  });

  test('a longer capability packet of a later revision is understood', async () => {
    const longer = Buffer.alloc(100, 0x77);
    encodeCapabilities(hello()).copy(longer);
    longer.writeUInt16BE(longer.length, 4);
    longer.writeUInt16BE(2, 6);
    const client = (await connect()).send(encodeVersion(HELLO), encodeClientInitial(initial()), longer);
    await client.read(20);
    expect(await client.answer()).toEqual(welcomed);
    await client.read(64);
    expect(client.isQuiet).toBe(true);
  });

  test('a refusal is fifteen bytes and no capability packet', async () => {
    const client = await (await connect()).introduce(initial({ path: '/nothing' }), hello());
    expect(await client.answer()).toEqual(refusedWith(1));
    expect(await client.untilEnd()).toHaveLength(0);
  });

  test.each([
    { what: 'no hello', second: null },
    { what: 'another instance id', second: hello({ instanceId: Buffer.alloc(16, 1) }) },
  ])('a second half with $what is refused', async ({ second }) => {
    const first = await (await connect()).introduce(initial({ half: 'send' }), hello());
    await first.answer();
    await first.read(64);
    const wrong = await (await connect()).introduce(initial({ half: 'receive' }), second);
    expect(await wrong.answer()).toEqual(refusedWith(1));
    expect(first.isQuiet).toBe(true);
  });
});
