import { once } from 'node:events';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createProgram } from '../../src/cli/program.js';
import { NBD_OPTION, NBD_OPTION_REPLY as REPLY } from '../../src/protocol/nbd.js';
import { CertificateMaker, hasOpenssl, type Certificate } from '../support/certificates.js';
import { MirrorWorld } from '../support/mirror-world.js';
import { infoRequest, NbdClient } from '../support/nbd-client.js';

describe.skipIf(!hasOpenssl())("a mirror's NBD port with TLS", () => {
  let world: MirrorWorld;
  let authority: Certificate;
  let server: Certificate;
  let maker: CertificateMaker;

  beforeEach(async () => {
    world = await MirrorWorld.make();
    maker = new CertificateMaker(world.scratch);
    authority = maker.authority('authority');
    server = maker.sign(authority, 'server', '/CN=localhost', 'IP:127.0.0.1');
  });
  afterEach(async () => await world.close());

  const words = (): string[] => [
    ...['--nbd-port', '0', '--nbd-tls-cert', server.certificateFile, '--nbd-tls-key', server.keyFile],
    ...['--nbd-tls-ca', authority.certificateFile],
  ];

  /** Rejects if the server does not want us. */
  async function secured(port: number, identity: Certificate): Promise<NbdClient> {
    const client = await NbdClient.connect({ port });
    client.sendFlags();
    expect(await client.ask(NBD_OPTION.starttls)).toMatchObject({ reply: REPLY.ack });
    client.socket.removeAllListeners('data');
    const { cert, key } = identity;
    const socket: TLSSocket = connectTls({
      ...{ socket: client.socket, ca: authority.cert, servername: 'localhost', cert, key },
    });
    client.moveTo(socket);
    await once(socket, 'secureConnect');
    return client;
  }

  test('serves who has a certificate, and nobody in clear', async () => {
    await world.startMirror(...words());
    const { nbd } = await world.untilState('COMPLETE');
    const address = nbd.find((one) => 'port' in one);
    if (address === undefined || !('port' in address)) throw new Error('no port');
    expect(address.isTls).toBe(true);
    const client = await secured(address.port, maker.sign(authority, 'client', '/CN=primary'));
    expect(await client.ask(NBD_OPTION.structuredReply)).toMatchObject({ reply: REPLY.ack });
    expect(await client.ask(NBD_OPTION.go, infoRequest('data'))).toMatchObject({ reply: REPLY.ack });
    expect((await client.write(4096, Buffer.alloc(4096, 7))).errno).toBe(0);
    await client.disconnect();
    const plain = await NbdClient.connect({ port: address.port });
    plain.sendFlags();
    expect(await plain.ask(NBD_OPTION.go, infoRequest('data'))).toMatchObject({
      reply: REPLY.errorTlsRequired,
    });
    plain.destroy();
    const stranger = await secured(address.port, maker.authority('stranger')).catch(() => null);
    if (stranger !== null) expect(await stranger.inbox.take(1)).toBeNull();
  });

  test('is refused with files that are none, by the name of the option', async () => {
    await world.label();
    const at = words().indexOf(server.keyFile);
    const wrong = words().with(at, world.local);
    const { code, stderr } = await world.run('start', 'data', world.local, world.uri, ...wrong);
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: `ggmirror: --nbd-tls-key ${world.local} holds no PEM block\n`,
    });
  });

  test.each<[string, string[]]>([
    ['needs both nbd-tls-cert and nbd-tls-key', ['--nbd-port', '0', '--nbd-tls-cert', '/c']],
    ['needs both nbd-tls-cert and nbd-tls-key', ['--nbd-tls-ca', '/c']],
    ['needs an nbd-port', ['--nbd-tls-cert', '/c', '--nbd-tls-key', '/k']],
    ['tls-cert and tls-key go together', ['--tls-cert', '/c']],
  ])('%s: %j is refused', async (says, wrong) => {
    const parsed = (await createProgram('start')).parseAsync([
      'node',
      'ggmirror',
      'start',
      'data',
      '/a',
      ...wrong,
    ]);
    await expect(parsed).rejects.toThrow(says);
  });
});
