import { afterEach, describe, expect, test } from 'vitest';
import { NBD_OPTION, NBD_OPTION_REPLY, NBD_TRANSMISSION_FLAG } from '../../../src/protocol/nbd.js';
import { HANDSHAKE_MS } from '../../../src/server/limits.js';
import { CONNECTIONS_MAX } from '../../../src/server/nbd/limits.js';
import { MemoryDevice } from '../../support/memory-device.js';
import { infoRequest } from '../../support/nbd-client.js';
import { NbdWorld } from '../../support/nbd-world.js';
import { until } from '../../support/until.js';

const FLAG = NBD_TRANSMISSION_FLAG;
const REPLY = NBD_OPTION_REPLY;
let world: NbdWorld;

afterEach(async () => world.end());

const serve = async (device = new MemoryDevice()): Promise<void> =>
  void (world = await NbdWorld.start(device));

describe('a client that goes', () => {
  test('learns size, abilities and block sizes', async () => {
    await serve(new MemoryDevice({ mediaSizeBytes: 3_145_728 }));
    const client = await world.connect();
    expect(await client.go('disk', { isStructured: true })).toEqual({
      mediaSizeBytes: 3_145_728,
      flags:
        FLAG.hasFlags +
        FLAG.sendFlush +
        FLAG.sendFua +
        FLAG.sendTrim +
        FLAG.sendWriteZeroes +
        FLAG.sendDf +
        FLAG.canMultiConn,
      minBlockBytes: 512,
      preferredBlockBytes: 4096,
      payloadBytesMax: 33_554_432,
    });
  });

  test.each([
    { what: 'is read-only', can: { write: false, trim: false, writeZeroes: false }, flag: FLAG.readOnly },
    { what: 'can only be read and written', can: { flush: false, trim: false, writeZeroes: false }, flag: 0 },
  ])('is told when a device $what', async ({ can, flag }) => {
    await serve(new MemoryDevice({ can }));
    const { flags } = await (await world.connect()).go('disk');
    const flushes = 'flush' in can ? 0 : FLAG.sendFlush + FLAG.sendFua;
    expect(flags).toBe(FLAG.hasFlags + FLAG.canMultiConn + flushes + flag);
  });

  test('hears of large sectors', async () => {
    await serve(new MemoryDevice({ sectorSizeBytes: 8192 }));
    const client = await world.connect();
    expect(await client.go('disk')).toMatchObject({ minBlockBytes: 8192, preferredBlockBytes: 8192 });
  });

  test('may leave out the name where there is one export only', async () => {
    await serve();
    expect(await (await world.connect()).go('')).toMatchObject({ mediaSizeBytes: 1_048_576 });
  });
});

describe('several exports', () => {
  const start = async (): Promise<Map<string, MemoryDevice>> => {
    const exports = new Map([
      ['one', new MemoryDevice({ name: 'first', mediaSizeBytes: 65_536 })],
      ['zwölf', new MemoryDevice({ name: 'twelfth', mediaSizeBytes: 131_072 })],
    ]);
    world = await NbdWorld.start(exports);
    return exports;
  };

  test('are listed, and are found by their names', async () => {
    await start();
    const client = await world.connect();
    client.sendFlags();
    client.sendOption(NBD_OPTION.list);
    const listed = [await client.optionReply(), await client.optionReply()];
    expect(listed.map(({ reply, data }) => [reply, data.readUInt32BE(0), data.toString('utf8', 4)])).toEqual([
      [REPLY.server, 3, 'onefirst'],
      [REPLY.server, 6, 'zwölftwelfth'],
    ]);
    expect((await client.optionReply()).reply).toBe(REPLY.ack);
    expect(await (await world.connect()).go('zwölf')).toMatchObject({ mediaSizeBytes: 131_072 });
  });

  test('have no default', async () => {
    await start();
    const client = await world.connect();
    client.sendFlags();
    expect(await client.ask(NBD_OPTION.go, infoRequest(''))).toMatchObject({ reply: REPLY.errorUnknown });
  });

  test('may come and go while the server runs', async () => {
    const exports = await start();
    exports.delete('one');
    exports.set('three', new MemoryDevice({ mediaSizeBytes: 262_144 }));
    const client = await world.connect();
    client.sendFlags();
    expect(await client.ask(NBD_OPTION.go, infoRequest('one'))).toMatchObject({ reply: REPLY.errorUnknown });
    expect(await (await world.connect()).go('three')).toMatchObject({ mediaSizeBytes: 262_144 });
  });
});

describe('options', () => {
  test('INFO tells name and description to who asks, and leaves the negotiation open', async () => {
    await serve(new MemoryDevice({ name: 'the disk of this test' }));
    const client = await world.connect();
    client.sendFlags();
    client.sendOption(NBD_OPTION.info, infoRequest('disk', [1, 2, 0xbeef]));
    const texts = new Map<number, string>();
    for (;;) {
      const { reply, data } = await client.optionReply();
      if (reply === REPLY.ack) break;
      texts.set(data.readUInt16BE(0), data.toString('utf8', 2));
    }
    expect([...texts.keys()]).toEqual([0, 3, 1, 2]);
    expect([texts.get(1), texts.get(2)]).toEqual(['disk', 'the disk of this test']);
    expect((await client.ask(NBD_OPTION.abort)).reply).toBe(REPLY.ack);
    await client.inbox.closed();
  });

  test.each([
    { what: 'an unknown option', option: 77, reply: REPLY.errorUnsupported },
    { what: 'meta contexts', option: 10, reply: REPLY.errorUnsupported },
    { what: 'extended headers', option: 11, reply: REPLY.errorUnsupported },
    { what: 'STARTTLS without TLS', option: NBD_OPTION.starttls, reply: REPLY.errorUnsupported },
    { what: 'LIST with data', option: NBD_OPTION.list, data: 'x', reply: REPLY.errorInvalid },
    {
      what: 'structured replies with data',
      option: NBD_OPTION.structuredReply,
      data: 'x',
      reply: REPLY.errorInvalid,
    },
    { what: 'GO without data', option: NBD_OPTION.go, reply: REPLY.errorInvalid },
    { what: 'INFO that is cut', option: NBD_OPTION.info, data: '\0\0\0\x09x\0\0', reply: REPLY.errorInvalid },
    {
      what: 'a longer option than any',
      option: NBD_OPTION.info,
      data: 'x'.repeat(9000),
      reply: REPLY.errorTooBig,
    },
  ])('$what is refused, and the next one is served', async ({ option, data = '', reply }) => {
    await serve();
    const client = await world.connect();
    client.sendFlags();
    expect(await client.ask(option, Buffer.from(data, 'latin1'))).toMatchObject({ option, reply });
    expect(await client.ask(NBD_OPTION.list)).toMatchObject({ reply: REPLY.ack });
  });

  test.each([
    { what: 'with zeroes behind the answer', flags: 1, zeroes: 124 },
    { what: 'without them', flags: 3, zeroes: 0 },
  ])('EXPORT_NAME, the old way, begins $what', async ({ flags, zeroes }) => {
    await serve();
    const client = await world.connect();
    client.sendFlags(flags);
    client.sendOption(NBD_OPTION.exportName, Buffer.from('disk'));
    const answer = await client.take(10 + zeroes);
    expect(Number(answer.readBigUInt64BE(0))).toBe(1_048_576);
    expect(answer.subarray(10).every((byte) => byte === 0)).toBe(true);
    expect(await client.read(0, 512)).toMatchObject({ errno: 0, kind: 'simple' });
  });
});

describe('a connection is closed without a word', () => {
  test.each([
    {
      what: 'an EXPORT_NAME that is not there',
      bytes: option(1, 'other'),
      reason: /"other", which is not there/,
    },
    { what: 'flags that were not offered', flags: 8, bytes: '', reason: /unknown flags 0x8/ },
    {
      what: 'something else than an option',
      bytes: 'GET / HTTP/1.1\r\n\r\n',
      reason: /does not start like one/,
    },
    {
      what: 'an option without end',
      bytes: option(6, '', 4_000_000_000),
      reason: /announces 4000000000 bytes/,
    },
    { what: 'options without end', bytes: option(3, '').repeat(64), reason: /64 options, and no end/ },
  ])('after $what, and the log says why', async ({ flags = 3, bytes, reason }) => {
    await serve();
    const client = await world.connect();
    client.sendFlags(flags);
    client.socket.write(Buffer.from(bytes, 'latin1'));
    await client.inbox.closed();
    expect(world.log.at('warn').map((line) => line.fields['reason'])).toEqual([
      expect.stringMatching(reason),
    ]);
    expect(await (await world.connect()).go('disk')).toBeDefined();
  });

  test('when it does not come to an end in ten seconds', async () => {
    await serve();
    const [silent, slow] = [await world.connect(), await world.connect()];
    slow.sendFlags();
    await slow.ask(NBD_OPTION.structuredReply);
    world.clock.advance(HANDSHAKE_MS);
    await Promise.all([silent.inbox.closed(), slow.inbox.closed()]);
    expect(world.clock.timerCount).toBe(0);
  });

  test('when it is the oldest of too many that say nothing, and a good client gets in', async () => {
    await serve();
    const silent = [];
    for (let count = 0; count < 40; count++) silent.push(await world.connect());
    await Promise.all(silent.slice(0, 8).map(({ inbox }) => inbox.closed()));
    expect(await (await world.connect()).go('disk')).toBeDefined();
  });
});

test('more clients than there is room for are told so, and get in when one has gone', async () => {
  await serve();
  const clients = [];
  for (let count = 0; count < CONNECTIONS_MAX; count++) clients.push(await world.attach());
  const late = await world.connect();
  late.sendFlags();
  expect(await late.ask(NBD_OPTION.go, infoRequest('disk'))).toMatchObject({ reply: REPLY.errorPolicy });
  await clients[0]?.disconnect();
  await until('room', () => world.server.connectionCount < CONNECTIONS_MAX);
  expect((await late.ask(NBD_OPTION.go, infoRequest('disk'))).reply).toBe(REPLY.ack);
});

function option(number: number, data: string, announcedBytes = data.length): string {
  const numbers = Buffer.alloc(8);
  numbers.writeUInt32BE(number, 0);
  numbers.writeUInt32BE(announcedBytes, 4);
  return `IHAVEOPT${numbers.toString('latin1')}${data}`;
}
