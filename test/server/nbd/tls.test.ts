import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { connect as connectTls, type TLSSocket, type TlsOptions } from 'node:tls';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { NBD_COMMAND, NBD_OPTION, NBD_OPTION_REPLY } from '../../../src/protocol/nbd.js';
import { loadTlsOptions } from '../../../src/server/tls-options.js';
import { CertificateMaker, hasOpenssl, type Certificate } from '../../support/certificates.js';
import { CountingProxy } from '../../support/counting-proxy.js';
import { pattern } from '../../support/device-requests.js';
import { MemoryDevice } from '../../support/memory-device.js';
import { NbdClient, infoRequest } from '../../support/nbd-client.js';
import { NbdWorld } from '../../support/nbd-world.js';
import { makeScratch, type Scratch } from '../../support/scratch.js';
import { haveTools, runTool } from '../../support/tools.js';
import { until } from '../../support/until.js';

const REPLY = NBD_OPTION_REPLY;

describe.skipIf(!hasOpenssl())('an NBD server with TLS', () => {
  let scratch: Scratch;
  let authority: Certificate;
  let serverCertificate: Certificate;
  let clientCertificate: Certificate;
  let stranger: Certificate;
  let world: NbdWorld;

  beforeAll(() => {
    scratch = makeScratch();
    const maker = new CertificateMaker(scratch);
    authority = maker.authority('authority');
    serverCertificate = maker.sign(authority, 'server', '/CN=localhost', 'IP:127.0.0.1');
    clientCertificate = maker.sign(authority, 'client', '/CN=primary');
    stranger = maker.authority('stranger');
  });

  afterAll(() => scratch.remove());

  beforeEach(async () => {
    const tls: TlsOptions = await loadTlsOptions({
      certificate: serverCertificate.certificateFile,
      key: serverCertificate.keyFile,
      authority: authority.certificateFile,
    });
    world = await NbdWorld.start(new MemoryDevice(), { listen: [{ host: '127.0.0.1', port: 0, tls }] });
  });

  afterEach(async () => world.end());

  /** Over to TLS, as far as the client can see. */
  async function startTls(client: NbdClient, certificate: Certificate | null): Promise<TLSSocket> {
    client.sendFlags();
    expect(await client.ask(NBD_OPTION.starttls)).toMatchObject({ reply: REPLY.ack });
    client.socket.removeAllListeners('data');
    const identity = certificate === null ? {} : { cert: certificate.cert, key: certificate.key };
    const socket = connectTls({
      socket: client.socket,
      ca: authority.cert,
      servername: 'localhost',
      ...identity,
    });
    socket.on('error', () => undefined);
    client.moveTo(socket);
    await Promise.race([once(socket, 'secureConnect'), once(socket, 'close')]);
    return socket;
  }

  test('serves who has a certificate of its authority, and names him in the log', async () => {
    const client = await world.connect();
    await startTls(client, clientCertificate);
    expect(await client.ask(NBD_OPTION.structuredReply)).toMatchObject({ reply: REPLY.ack });
    expect(await client.ask(NBD_OPTION.go, infoRequest('disk'))).toMatchObject({ reply: REPLY.ack });
    const data = pattern(1_048_576, 1);
    expect(await client.write(0, data)).toMatchObject({ errno: 0 });
    const reply = await client.read(0, data.length);
    expect(reply.kind).toBe('chunk');
    expect(reply.data.equals(data)).toBe(true);
    const [attached] = world.log.at('info');
    expect(attached?.fields).toMatchObject({ peer: '127.0.0.1', certificate: 'primary' });
    await client.disconnect();
    await until('the end', () => world.server.connectionCount === 0);
  });

  test.each([{ what: 'no certificate' }, { what: 'one of another authority' }])(
    'closes on who has $what',
    async ({ what }) => {
      const client = await world.connect();
      await startTls(client, what === 'no certificate' ? null : stranger);
      client.sendOption(NBD_OPTION.go, infoRequest('disk'));
      await client.inbox.closed();
      expect(world.server.connectionCount).toBe(0);
      await until('the log', () => world.log.at('warn').length === 1);
      expect(world.log.at('info')).toEqual([]);
    },
  );

  test.each([
    { what: 'LIST', option: NBD_OPTION.list, data: Buffer.alloc(0) },
    { what: 'INFO', option: NBD_OPTION.info, data: infoRequest('disk') },
    { what: 'GO', option: NBD_OPTION.go, data: infoRequest('disk') },
    { what: 'structured replies', option: NBD_OPTION.structuredReply, data: Buffer.alloc(0) },
  ])('answers $what before TLS that TLS is required', async ({ option, data }) => {
    const client = await world.connect();
    client.sendFlags();
    expect(await client.ask(option, data)).toMatchObject({ reply: REPLY.errorTlsRequired });
    expect(await client.ask(NBD_OPTION.abort)).toMatchObject({ reply: REPLY.ack });
  });

  test('closes on EXPORT_NAME before TLS', async () => {
    const client = await world.connect();
    client.sendFlags();
    client.sendOption(NBD_OPTION.exportName, Buffer.from('disk'));
    await client.inbox.closed();
    expect(world.log.at('warn')[0]?.fields['reason']).toBe('the client wants export "disk", without TLS');
  });

  test('takes nothing that came in plain text behind STARTTLS', async () => {
    const client = await world.connect();
    const injected = Buffer.from('IHAVEOPT\0\0\0\x08\0\0\0\0', 'latin1');
    const starttls = Buffer.from('IHAVEOPT\0\0\0\x05\0\0\0\0', 'latin1');
    client.socket.write(Buffer.concat([Buffer.from([0, 0, 0, 3]), starttls, injected]));
    await client.inbox.closed();
    expect(world.log.at('warn')[0]?.fields['reason']).toMatch(/went on in plain text/);
  });

  test('starts TLS once only', async () => {
    const client = await world.connect();
    await startTls(client, clientCertificate);
    expect(await client.ask(NBD_OPTION.starttls)).toMatchObject({ reply: REPLY.errorInvalid });
    expect(await client.ask(NBD_OPTION.go, infoRequest('disk'))).toMatchObject({ reply: REPLY.ack });
    expect((await client.read(0, 512)).kind).toBe('simple');
  });

  test('ends a connection on which something arrives damaged', async () => {
    const proxy = await CountingProxy.listen(world.port);
    try {
      const client = await NbdClient.connect({ port: proxy.port });
      await startTls(client, clientCertificate);
      expect(await client.ask(NBD_OPTION.go, infoRequest('disk'))).toMatchObject({ reply: REPLY.ack });
      await until('the client', () => world.server.connectionCount === 1);
      proxy.damageNext('up');
      client.send({ command: NBD_COMMAND.read, offsetBytes: 0, lengthBytes: 512 });
      await until('the end', () => world.server.connectionCount === 0);
    } finally {
      await proxy.close();
    }
  });

  test.skipIf(!haveTools('nbdcopy'))("is what libnbd's TLS connects to", async () => {
    const folder = scratch.path('pki');
    mkdirSync(folder);
    writeFileSync(`${folder}/ca-cert.pem`, authority.cert);
    writeFileSync(`${folder}/client-cert.pem`, clientCertificate.cert);
    writeFileSync(`${folder}/client-key.pem`, clientCertificate.key);
    const data = pattern(1_048_576, 7);
    writeFileSync(scratch.path('source.img'), data);
    const uri = `nbds://127.0.0.1:${world.port}/disk?tls-certificates=${folder}`;
    await runTool('nbdcopy', scratch.path('source.img'), uri);
    await runTool('nbdcopy', uri, scratch.path('back.img'));
    expect(readFileSync(scratch.path('back.img')).equals(data)).toBe(true);
    await expect(
      runTool('nbdcopy', uri.replace('nbds:', 'nbd:'), scratch.path('back.img')),
    ).rejects.toThrow();
  });
});
