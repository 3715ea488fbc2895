import { writeFileSync } from 'node:fs';
import type { ConnectionOptions } from 'node:tls';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { encodeClientInitial, encodeVersion } from '../../src/protocol/handshake.js';
import { PENDING_PER_HOST_MAX } from '../../src/server/limits.js';
import { certificateNames, loadTlsOptions } from '../../src/server/tls-options.js';
import { CertificateMaker, hasOpenssl, type Certificate } from '../support/certificates.js';
import { initial, refusedWith, startFront, welcomed, type Front } from '../support/front-server.js';
import { makeScratch, type Scratch } from '../support/scratch.js';
import { until } from '../support/until.js';
import { WireClient } from '../support/wire-client.js';

const EXPORTS = `
127.0.0.1 RO /disk
tls:primary RW /disk
tls:mirror.example.org WO /named
`;

describe.runIf(hasOpenssl())('over TLS', () => {
  let scratch: Scratch;
  let authority: Certificate;
  let stranger: Certificate;
  let serverCertificate: Certificate;
  let primary: Certificate;
  let named: Certificate;
  let foreign: Certificate;
  const cleanUp: (() => void)[] = [];

  beforeAll(() => {
    scratch = makeScratch();
    const maker = new CertificateMaker(scratch);
    authority = maker.authority('authority');
    stranger = maker.authority('stranger');
    serverCertificate = maker.sign(authority, 'server', '/CN=backup', 'IP:127.0.0.1');
    primary = maker.sign(authority, 'primary', '/O=site/CN=primary');
    named = maker.sign(authority, 'named', '/CN=other', 'DNS:mirror.example.org,DNS:second.example.org');
    foreign = maker.sign(stranger, 'foreign', '/CN=primary');
  });
  afterAll(() => scratch.remove());
  afterEach(() => {
    for (const run of cleanUp.splice(0).reverse()) run();
  });

  const files = (withAuthority = true): Parameters<typeof loadTlsOptions>[0] => ({
    certificate: serverCertificate.certificateFile,
    key: serverCertificate.keyFile,
    authority: withAuthority ? authority.certificateFile : null,
  });

  /** The first port is for TLS, the second is plain. */
  async function start(withAuthority = true): Promise<Front> {
    const front = await startFront({
      exports: EXPORTS,
      endpoints: [
        { address: { host: '127.0.0.1' }, port: 0, isTls: true },
        { address: { host: '127.0.0.1' }, port: 0, isTls: false },
      ],
      tls: await loadTlsOptions(files(withAuthority)),
    });
    cleanUp.push(() => front.close());
    return front;
  }

  async function connect(
    front: Front,
    certificate: Certificate | null,
    options: ConnectionOptions = {},
  ): Promise<WireClient> {
    const own = certificate === null ? {} : { cert: certificate.cert, key: certificate.key };
    const client = await WireClient.connectTls({ port: front.port, ca: authority.cert, ...own, ...options });
    cleanUp.push(() => client.close());
    return client;
  }

  async function connectPlain(port: number | undefined): Promise<WireClient> {
    const client = await WireClient.connect({ port: port ?? 0 });
    cleanUp.push(() => client.close());
    return client;
  }

  test('a client with a certificate is known by its name, and both halves become a session', async () => {
    const front = await start();
    const first = await (await connect(front, primary)).introduce(initial({ half: 'send' }));
    expect(await first.answer()).toEqual(welcomed);
    const last = await (await connect(front, primary)).introduce(initial({ half: 'receive' }));
    const { request, receive, send, welcome } = await front.sessions.session(0);
    expect(request.peer).toMatchObject({
      address: '127.0.0.1',
      certificateName: 'primary',
      certificateNames: ['primary'],
    });
    receive.write(welcome);
    expect(await last.answer()).toEqual(welcomed);
    last.send(Buffer.from('requests'));
    const chunk = new Promise((resolve) => receive.once('data', resolve));
    receive.resume();
    expect(String(await chunk)).toBe('requests');
    send.write('answers');
    expect(String(await first.read(7))).toBe('answers');
    expect(front.server.pendingCount).toBe(0);
    expect(front.clock.timerCount).toBe(0);
  });

  test('every DNS name of a certificate counts', async () => {
    const front = await start();
    const client = await (await connect(front, named)).introduce(initial({ path: '/named', access: 'wo' }));
    expect(await client.answer()).toEqual(welcomed);
  });

  test('a name in a certificate opens what is for that name, and no more', async () => {
    const front = await start();
    const wrong = await (await connect(front, primary)).introduce(initial({ path: '/named', access: 'wo' }));
    expect(await wrong.answer()).toEqual(refusedWith(1));
    // For 'other' the line of its address is the first that matches.
    const byAddress = await (await connect(front, named)).introduce(initial({ access: 'rw' }));
    expect(await byAddress.answer()).toEqual(refusedWith(1));
    expect(front.log.at('warn')[0]?.fields).toMatchObject({ certificate: 'primary', errno: 'EPERM' });
  });

  test('the plain port stays open for who is known by address, and never for a name', async () => {
    const front = await start();
    const plain = await connectPlain(front.addresses[1]?.port);
    await plain.introduce(initial({ access: 'ro' }));
    expect(await plain.answer()).toEqual(welcomed);
    const writer = await connectPlain(front.addresses[1]?.port);
    await writer.introduce(initial({ access: 'rw', token: 2 }));
    expect(await writer.answer()).toEqual(refusedWith(1));
  });

  test.each([
    { what: 'no certificate', certificate: () => null },
    { what: 'a certificate of another authority', certificate: () => foreign },
  ])('a client with $what does not get to the ggate protocol', async ({ certificate }) => {
    const front = await start();
    // In TLS 1.3 the client hears of it after its own side is done.
    const client = await connect(front, certificate());
    client.send(encodeVersion(0));
    expect(await client.untilEnd()).toHaveLength(0);
    await until('the server to forget it', () => front.server.pendingCount === 0);
    expect(front.clock.timerCount).toBe(0);
  });

  test('without an authority nobody is asked for a certificate, and none is believed', async () => {
    const front = await start(false);
    const client = await (await connect(front, primary)).introduce(initial({ access: 'rw' }));
    expect(await client.answer()).toEqual(refusedWith(1));
    const reader = await (await connect(front, null)).introduce(initial({ access: 'ro' }));
    expect(await reader.answer()).toEqual(welcomed);
  });

  test('a half over TLS and a plain one make no session', async () => {
    const front = await start(false);
    const first = await (await connect(front, null)).introduce(initial({ access: 'ro', half: 'send' }));
    await first.answer();
    const plain = await connectPlain(front.addresses[1]?.port);
    await plain.introduce(initial({ access: 'ro', half: 'receive' }));
    expect(await plain.answer()).toEqual(refusedWith(1));
    expect(first.isQuiet).toBe(true);
  });

  test('halves with two certificates make no session', async () => {
    const front = await start();
    const first = await (await connect(front, primary)).introduce(initial({ access: 'ro', half: 'send' }));
    expect(await first.answer()).toEqual(welcomed);
    const other = await (await connect(front, named)).introduce(initial({ access: 'ro', half: 'receive' }));
    expect(await other.answer()).toEqual(refusedWith(1));
    expect(first.isQuiet).toBe(true);
  });

  test('a client that is silent before TLS is cut off after ten seconds', async () => {
    const front = await start();
    const silent = await connectPlain(front.port);
    await until('it to be accepted', () => front.server.pendingCount === 1);
    front.clock.advance(10_000);
    expect(await silent.untilEnd()).toHaveLength(0);
    expect(front.clock.timerCount).toBe(0);
  });

  test('a client that is silent after TLS is cut off after ten seconds', async () => {
    const front = await start();
    const silent = await connect(front, primary);
    await until('it to be accepted', () => front.server.pendingCount === 1);
    front.clock.advance(10_000);
    expect(await silent.untilEnd()).toHaveLength(0);
    expect(front.clock.timerCount).toBe(0);
  });

  test('a hundred that never begin with TLS keep out no good client of the same host', async () => {
    const front = await start();
    for (let index = 0; index < 100; index++) await connectPlain(front.port);
    await until('all to be accepted', () => front.server.pendingCount === PENDING_PER_HOST_MAX);
    await (await (await connect(front, primary)).introduce(initial({ half: 'send' }))).answer();
    await (await connect(front, primary)).introduce(initial({ half: 'receive' }));
    await front.sessions.session(0);
  });

  test('plain ggate on the TLS port and other garbage end that connection only', async () => {
    const front = await start();
    for (const bytes of [encodeVersion(0), Buffer.from('GET / HTTP/1.1\r\n\r\n'), Buffer.alloc(500, 0xff)]) {
      const client = (await connectPlain(front.port)).send(bytes, encodeClientInitial(initial()));
      await client.untilEnd();
    }
    await until('all to be forgotten', () => front.server.pendingCount === 0);
    expect(front.log.at('warn')).toMatchObject([{ fields: { peer: '127.0.0.1' } }]);
    expect(front.log.at('error')).toEqual([]);
    await (await (await connect(front, primary)).introduce(initial())).answer();
  });

  test('a first half whose client goes away is forgotten', async () => {
    const front = await start();
    const first = await (await connect(front, primary)).introduce(initial());
    await first.answer();
    first.close();
    await until('it to be forgotten', () => front.server.pendingCount === 0);
    expect(front.clock.timerCount).toBe(0);
  });

  test('TLS 1.1 is too old', async () => {
    const front = await start();
    const old: ConnectionOptions = {
      minVersion: 'TLSv1',
      maxVersion: 'TLSv1.1',
      ciphers: 'DEFAULT:@SECLEVEL=0',
    };
    await expect(connect(front, primary, old)).rejects.toThrow();
  });

  test('new certificates are for connections from now on', async () => {
    const front = await start();
    const before = await (await connect(front, primary)).introduce(initial({ half: 'send' }));
    await before.answer();
    front.server.reloadTls(await loadTlsOptions({ ...files(), authority: stranger.certificateFile }));
    expect(before.isQuiet).toBe(true);
    const refused = await connect(front, named);
    expect(await refused.send(encodeVersion(0)).untilEnd()).toHaveLength(0);
    const after = await (await connect(front, foreign)).introduce(initial({ half: 'receive' }));
    await front.sessions.session(0);
    expect(after.isQuiet).toBe(true);
  });

  describe('files that TLS can not use', () => {
    test.each([
      {
        what: 'a missing file',
        change: () => ({ certificate: scratch.path('none.crt') }),
        message: /^--tls-cert .*none\.crt can't be read: ENOENT/,
      },
      {
        what: 'a key of another certificate',
        change: () => ({ key: primary.keyFile }),
        message: /^TLS can't use .*server\.crt, .*primary\.key, .*authority\.crt: .*key values mismatch/,
      },
      {
        what: 'an authority that is no certificate',
        change: () => ({ authority: garbage() }),
        message: /^--tls-ca .*garbage\.pem holds no PEM block/,
      },
    ])('$what: the message says so', async ({ change, message }) => {
      await expect(loadTlsOptions({ ...files(), ...change() })).rejects.toThrow(message);
    });

    function garbage(): string {
      writeFileSync(scratch.path('garbage.pem'), 'no certificate');
      return scratch.path('garbage.pem');
    }
  });
});

describe('the names of a certificate', () => {
  test.each([
    [{ CN: 'a' }, undefined, ['a']],
    [{ CN: 'a' }, 'DNS:b, DNS:c', ['a', 'b', 'c']],
    [{ CN: 'a' }, 'DNS:a, IP Address:127.0.0.1, URI:DNS:x, email:y@z', ['a']],
    [{ CN: ['a', 'b'] }, undefined, ['a', 'b']],
    [{}, 'DNS:b', ['b']],
    [{ CN: '' }, '', []],
    // Node quotes what could be mistaken for several entries.
    [{ CN: 'a' }, 'DNS:b, URI:"x, DNS:evil", DNS:"evil, DNS:worse", DNS:c', ['a', 'b', 'c']],
    [{ CN: 'a' }, 'URI:"x\\", DNS:evil, DNS:\\"", DNS:c', ['a', 'c']],
    [{ CN: 'a' }, 'DNS:b, DNS:"c", "DNS:d, DNS:e', ['a', 'b']],
    [{ CN: 'a' }, 'Registered ID:1.2.3, DirName:"/CN=x, DNS:y", DNS:b', ['a', 'b']],
  ])('of %j with %j are %j', (subject, subjectaltname, names) => {
    expect(certificateNames({ subject, subjectaltname })).toEqual(names);
  });
});
