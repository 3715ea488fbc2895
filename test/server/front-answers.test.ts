import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { DeviceError } from '../../src/device/block-device.js';
import { encodeCapabilities } from '../../src/protocol/capabilities.js';
import {
  CLIENT_INITIAL,
  HELLO,
  decodeVersion,
  encodeClientInitial,
  encodeVersion,
  type AccessMode,
} from '../../src/protocol/handshake.js';
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
import { until } from '../support/until.js';
import { WireClient } from '../support/wire-client.js';

const EXPORTS = `
127.0.0.1 RO /ro
127.0.0.1 WO /wo
127.0.0.1 RW /disk
127.0.0.0/8 RW /overlap
127.0.0.1/32 RO /overlap
10.0.0.0/8 RW /elsewhere
127.0.0.1 RW /broken
127.0.0.1 RW /ünï
`;

/** What the errno of the medium '/broken' is. */
let openError: 'ENOENT' | 'EACCES' | 'EROFS' | 'EISDIR' = 'ENOENT';
let front: Front;
const clients: WireClient[] = [];

beforeEach(async () => {
  front = await startFront({
    exports: EXPORTS,
    probeMedia: async (path) => {
      if (path !== '/broken') return Promise.resolve(MEDIA);
      return Promise.reject(new DeviceError('DEVICE_OPEN', openError, `${path} can't be opened`));
    },
  });
});
afterEach(() => {
  for (const client of clients.splice(0)) client.close();
  front.close();
});

async function connect(): Promise<WireClient> {
  const client = await WireClient.connect({ port: front.port });
  clients.push(client);
  return client;
}

describe('a connection is closed without an answer', () => {
  const version = encodeVersion(0);
  const badMagic = Buffer.from(version);
  badMagic.write('GEOM_GATF', 'latin1');
  const badVersion = Buffer.from(version);
  badVersion.writeUInt16BE(1, 16);
  const helloPackets = [encodeVersion(HELLO), encodeClientInitial(initial())];

  test.each([
    { what: 'nothing', sent: [], echo: 0 },
    { what: 'half a version packet', sent: [version.subarray(0, 19)], echo: 0 },
    { what: 'a version packet with a wrong magic', sent: [badMagic], echo: 0 },
    { what: 'a version packet of another version', sent: [badVersion], echo: 0 },
    { what: 'no initial packet', sent: [version], echo: 20 },
    { what: 'half an initial packet', sent: [version, Buffer.alloc(1038, 0x61)], echo: 20 },
    { what: 'no capability packet after a hello', sent: helloPackets, echo: 20 },
    {
      what: 'half a capability packet',
      sent: [...helloPackets, encodeCapabilities(hello()).subarray(0, 63)],
      echo: 20,
    },
  ])('that sent $what and ended', async ({ sent, echo }) => {
    const client = await connect();
    client.send(...sent).socket.end();
    expect(await client.untilEnd()).toHaveLength(echo);
    await until('the server to forget it', () => front.server.pendingCount === 0);
    expect(front.sessions.started).toEqual([]);
    expect(front.clock.timerCount).toBe(0);
  });

  test.each([
    { what: 'a wrong magic', sent: [badMagic], echo: 0 },
    { what: 'another version', sent: [badVersion], echo: 0 },
    { what: 'rubbish for a capability packet', sent: [...helloPackets, Buffer.alloc(64, 0x47)], echo: 20 },
  ])('that sent $what and waits', async ({ sent, echo }) => {
    const client = (await connect()).send(...sent);
    expect(await client.untilEnd()).toHaveLength(echo);
    await until('the server to forget it', () => front.server.pendingCount === 0);
    expect(front.log.at('warn')).toHaveLength(1);
  });
});

describe('the version packet', () => {
  test.each([0, 1, 0x4746, 0xffff])('with error field %d is answered as ggated does', async (error) => {
    const packet = encodeVersion(error);
    const client = (await connect()).send(packet);
    expect(await client.read(20)).toEqual(encodeVersion(0));
    expect(client.isQuiet).toBe(true);
  });

  test('of a ggmirror is answered with the hello', async () => {
    const client = (await connect()).send(encodeVersion(HELLO));
    expect(decodeVersion(await client.read(20))).toBe(HELLO);
    expect(client.isQuiet).toBe(true);
  });
});

describe('access', () => {
  const allowed: Readonly<Record<string, readonly string[]>> = {
    '/ro': ['ro'],
    '/wo': ['wo'],
    '/disk': ['ro', 'wo', 'rw'],
  };
  const cases = Object.entries(allowed).flatMap(([path, modes]) =>
    (['ro', 'wo', 'rw'] as AccessMode[]).map((access) => ({
      path,
      access,
      isAllowed: modes.includes(access),
    })),
  );
  test.each(cases)('$access of $path is allowed: $isAllowed', async ({ path, access, isAllowed }) => {
    const client = await (await connect()).introduce(initial({ path, access }));
    expect(await client.answer()).toEqual(isAllowed ? welcomed : refusedWith(1));
    if (isAllowed) expect(client.isQuiet).toBe(true);
    else expect(await client.untilEnd()).toHaveLength(0);
  });

  test('is read-only for RDONLY and WRONLY together, as ggated has it', async () => {
    const packet = encodeClientInitial(initial({ path: '/ro' }));
    packet.writeUInt8(1 + 2 + 4, CLIENT_INITIAL.flagsAt + 7);
    const client = (await connect()).send(encodeVersion(0), packet);
    await client.read(20);
    expect(await client.answer()).toEqual(welcomed);
  });

  test.each([
    '/nothing',
    '/elsewhere',
    '/disk/',
    '//disk',
    '/DISK',
    '/dis',
    '/disk ',
    '/ünï'.normalize('NFD'),
  ])('to %j, which no line offers to this client, is refused', async (path) => {
    const client = await (await connect()).introduce(initial({ path }));
    expect(await client.answer()).toEqual(refusedWith(1));
    expect(await client.untilEnd()).toHaveLength(0);
    expect(front.log.at('warn')).toMatchObject([
      { fields: { peer: '127.0.0.1', export: path, mode: 'rw', errno: 'EPERM' } },
    ]);
  });

  test('is decided by the last line that matches, without a look at the others', async () => {
    const client = await (await connect()).introduce(initial({ path: '/overlap', access: 'rw' }));
    expect(await client.answer()).toEqual(refusedWith(1));
    expect(front.log.at('warn')[0]?.message).toContain('gg.exports:6 allows read-only access only');
  });

  test('follows a list that was read anew, for the other half of a client too', async () => {
    const first = await (await connect()).introduce(initial({ half: 'send' }));
    expect(await first.answer()).toEqual(welcomed);
    front.server.reload(exportsOf('127.0.0.1 RO /disk'));
    const second = await (await connect()).introduce(initial({ half: 'receive' }));
    expect(await second.answer()).toEqual(refusedWith(1));
    expect(front.sessions.started).toEqual([]);
  });

  test.each([
    ['ENOENT', 2],
    ['EACCES', 13],
    ['EISDIR', 21],
    ['EROFS', 30],
  ] as const)('to a medium that gives %s is answered with %d', async (errno, number) => {
    openError = errno;
    const client = await (await connect()).introduce(initial({ path: '/broken' }));
    expect(await client.answer()).toEqual(refusedWith(number));
    expect(await client.untilEnd()).toHaveLength(0);
    expect(front.log.at('warn')).toMatchObject([{ fields: { errno, export: '/broken' } }]);
  });

  test('by a second writer is refused with EBUSY at the first half', async () => {
    front.sessions.refusal = 'EBUSY';
    const client = await (await connect()).introduce(initial());
    expect(await client.answer()).toEqual(refusedWith(16));
    expect(await client.untilEnd()).toHaveLength(0);
  });

  test.each([
    { what: 'no NUL', path: Buffer.alloc(1025, 0x61) },
    { what: 'no byte', path: Buffer.alloc(1025) },
  ])('to a path with $what is refused, and nothing behind it is read as a path', async ({ path }) => {
    const packet = encodeClientInitial(initial());
    path.copy(packet);
    const client = (await connect()).send(encodeVersion(0), packet);
    await client.read(20);
    expect(await client.answer()).toEqual(refusedWith(1));
    expect(await client.untilEnd()).toHaveLength(0);
  });

  test('is not touched by rubbish behind the NUL of the path', async () => {
    const packet = encodeClientInitial(initial());
    packet.fill(0xee, '/disk'.length + 1, CLIENT_INITIAL.pathSizeBytes);
    const client = (await connect()).send(encodeVersion(0), packet);
    await client.read(20);
    expect(await client.answer()).toEqual(welcomed);
  });
});
