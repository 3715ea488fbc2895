import { once } from 'node:events';
import { connect, createServer, type AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { openRemote, type RemoteDevice } from '../../src/client/remote-device.js';
import type { RemoteOptions } from '../../src/client/options.js';
import { CertificateMaker, hasOpenssl, type Certificate } from '../support/certificates.js';
import { CountingProxy } from '../support/counting-proxy.js';
import { FakeClock } from '../support/fake-clock.js';
import { FakeServer } from '../support/fake-server.js';
import { flush, pattern, readBytes, start, writeBytes } from '../support/device-requests.js';
import { makeScratch, type Scratch } from '../support/scratch.js';
import { until } from '../support/until.js';

describe.skipIf(!hasOpenssl())('a remote device over TLS', () => {
  let scratch: Scratch;
  let authority: Certificate;
  let stranger: Certificate;
  let serverCertificate: Certificate;
  let clientCertificate: Certificate;
  let server: FakeServer | null = null;
  let device: RemoteDevice | null = null;

  beforeAll(() => {
    scratch = makeScratch();
    const maker = new CertificateMaker(scratch);
    authority = maker.authority('authority');
    stranger = maker.authority('stranger');
    serverCertificate = maker.sign(authority, 'server', '/CN=backup', 'DNS:backup.test,IP:127.0.0.1');
    clientCertificate = maker.sign(authority, 'client', '/CN=primary');
  });

  afterAll(() => scratch.remove());

  afterEach(async () => {
    await device?.close();
    await server?.close();
    device = null;
    server = null;
  });

  async function listen(): Promise<FakeServer> {
    const { cert, key } = serverCertificate;
    server = await FakeServer.listen(
      {},
      { cert, key, ca: authority.cert, requestCert: true, rejectUnauthorized: true },
    );
    return server;
  }

  const options = (
    to: FakeServer,
    tls: RemoteOptions['tls'],
    more: Partial<RemoteOptions> = {},
  ): RemoteOptions => ({
    uri: { host: '127.0.0.1', port: to.port, path: '/disk.img', isTls: true },
    access: 'rw',
    backoff: { firstMs: 5, maxMs: 50 },
    ...(tls !== undefined && { tls }),
    ...more,
  });

  const good = (): RemoteOptions['tls'] => ({
    ca: authority.cert,
    cert: clientCertificate.cert,
    key: clientCertificate.key,
  });

  test('reads, writes and flushes, short and long', async () => {
    const to = await listen();
    device = await openRemote(options(to, good()));
    const data = pattern(1_048_576, 1);
    await writeBytes(device, 0, data);
    await flush(device);
    expect(to.disk.equals(data)).toBe(true);
    expect((await readBytes(device, { offsetBytes: 0, lengthBytes: data.length })).equals(data)).toBe(true);
    expect(
      (await readBytes(device, { offsetBytes: 512, lengthBytes: 512 })).equals(data.subarray(512, 1024)),
    ).toBe(true);
    expect(device.session).toMatchObject({ isGgmirror: true, address: '127.0.0.1' });
  });

  test('takes a given name for that of the certificate', async () => {
    const to = await listen();
    device = await openRemote(options(to, { ...good(), servername: 'backup.test' }));
    await readBytes(device, { offsetBytes: 0, lengthBytes: 512 });
  });

  test('begins anew at once where something arrives damaged', async () => {
    const to = await listen();
    const proxy = await CountingProxy.listen(to.port);
    try {
      // Far longer than the test may take.
      const { uri, ...rest } = options(to, good(), { requestTimeoutMs: 3_600_000 });
      device = await openRemote({ ...rest, uri: { ...uri, port: proxy.port } });
      await writeBytes(device, 0, pattern(512, 1));
      proxy.damageNext('down');
      expect(await readBytes(device, { offsetBytes: 0, lengthBytes: 512 })).toEqual(pattern(512, 1));
      await device.close();
    } finally {
      await proxy.close();
    }
  });

  test.each([
    { what: 'of an unknown authority', tls: () => ({ ...good(), ca: stranger.cert }) },
    { what: 'with another name', tls: () => ({ ...good(), servername: 'elsewhere.test' }) },
  ])('does not speak to a server with a certificate $what', async ({ tls }) => {
    const to = await listen();
    await expect(openRemote(options(to, tls()))).rejects.toMatchObject({ code: 'DEVICE_OPEN' });
    expect(to.received.flat()).toEqual([]);
  });

  test('is told that it has no certificate where one is asked for', async () => {
    const to = await listen();
    await expect(openRemote(options(to, { ca: authority.cert }))).rejects.toMatchObject({
      code: 'DEVICE_OPEN',
    });
  });

  test('is told that a plain server is none, and a plain device that a TLS server is none', async () => {
    const plain = await FakeServer.listen();
    server = plain;
    plain.behaviour.versionAnswer = () => Buffer.from('220 not TLS at all\r\n');
    await expect(openRemote(options(plain, good(), { connectTimeoutMs: 500 }))).rejects.toMatchObject({
      code: expect.stringMatching(/^DEVICE_(OPEN|TIMEOUT)$/) as string,
    });
    await plain.close();
    const to = await listen();
    const uri = { ...options(to, undefined).uri, isTls: false };
    await expect(openRemote({ uri, access: 'rw' })).rejects.toMatchObject({ code: 'DEVICE_OPEN' });
  });

  test('comes back after a loss and after silence, and replays', async () => {
    const to = await listen();
    const clock = new FakeClock();
    device = await openRemote(options(to, good(), { clock, requestTimeoutMs: 3000 }));
    const opened = device;
    to.behaviour.answers = false;
    const outcome = start(opened, 'write', { offsetBytes: 0, lengthBytes: 65_536 }, pattern(65_536, 2));
    await until('the request', () => (to.sessions[0]?.requests.length ?? 0) > 0);
    clock.advance(3000);
    await until('the second session', () => {
      if (!opened.isConnected) clock.advance(50);
      return (to.sessions[1]?.requests.length ?? 0) > 0;
    });
    to.sessions[1]?.drop();
    to.behaviour.answers = true;
    await until('the third session', () => {
      if (!opened.isConnected) clock.advance(50);
      return (to.sessions[2]?.requests.length ?? 0) > 0;
    });
    expect(await outcome).toBeNull();
    expect(to.disk.subarray(0, 65_536).equals(pattern(65_536, 2))).toBe(true);
    expect(opened.stats).toMatchObject({ reconnects: 2, replayed: 2 });
  });

  test('resets the connection of a silent server instead of closing it', async () => {
    const to = await listen();
    const ends: string[] = [];
    // TLS hides from the server how its connection ended; what stands in front of it sees it.
    const front = createServer((near) => {
      const far = connect({ host: '127.0.0.1', port: to.port });
      near.on('end', () => ends.push('closed'));
      near.on('error', (error: NodeJS.ErrnoException) => ends.push(error.code ?? 'error'));
      near.on('close', () => far.destroy());
      far.on('error', () => near.destroy());
      near.pipe(far).pipe(near);
    });
    front.listen(0, '127.0.0.1');
    await once(front, 'listening');
    const clock = new FakeClock();
    const uri = { ...options(to, undefined).uri, port: (front.address() as AddressInfo).port };
    device = await openRemote(
      options(to, good(), { uri, clock, requestTimeoutMs: 3000, onConnectionLost: 'fail' }),
    );
    to.behaviour.answers = false;
    const outcome = start(device, 'read', { offsetBytes: 0, lengthBytes: 512 }, Buffer.alloc(512));
    await until('the request', () => (to.sessions[0]?.requests.length ?? 0) > 0);
    clock.advance(3000);
    expect((await outcome)?.code).toBe('DEVICE_TIMEOUT');
    await until('both ends', () => ends.length === 2);
    expect(ends).toEqual(['ECONNRESET', 'ECONNRESET']);
    front.close();
  });
});
