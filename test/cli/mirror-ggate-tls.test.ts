import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { CertificateMaker, hasOpenssl, type Certificate } from '../support/certificates.js';
import { MirrorWorld } from '../support/mirror-world.js';
import { connectOnce } from '../support/ports.js';
import { startOwn } from '../support/processes.js';
import { until } from '../support/until.js';

const PATH = '/dev/mirror/data';

describe.skipIf(!hasOpenssl())('a mirror whose every ggate connection is TLS with certificates', () => {
  let world: MirrorWorld;
  let authority: Certificate;
  let primary: Certificate;
  let maker: CertificateMaker;

  beforeEach(async () => {
    world = await MirrorWorld.make();
    maker = new CertificateMaker(world.scratch);
    authority = maker.authority('authority');
    primary = maker.sign(authority, 'primary', '/CN=primary', 'IP:127.0.0.1');
  });
  afterEach(async () => await world.close());

  /** What a client needs to be let in. */
  const shown = (identity: Certificate): string[] => [
    ...['--tls-ca', authority.certificateFile],
    ...['--tls-cert', identity.certificateFile, '--tls-key', identity.keyFile],
  ];

  /** A backup that only serves who has a certificate, and a mirror that does the same. Resolves with its URI. */
  async function start(): Promise<{ uri: string; port: number }> {
    const { certificateFile, keyFile } = maker.sign(authority, 'backup', '/CN=backup', 'IP:127.0.0.1');
    const certificates = [
      '--tls-cert',
      certificateFile,
      '--tls-key',
      keyFile,
      '--tls-ca',
      authority.certificateFile,
    ];
    world.server = startOwn('ggmirror', [
      'serve',
      '--port',
      String(world.port),
      ...certificates,
      world.backup,
    ]);
    await until('the backup server', () => connectOnce(world.port));
    const backup = `ggates://127.0.0.1:${world.port}${world.backup}`;
    await world.succeed('label', ...shown(primary), 'data', world.local, backup);
    await world.succeed(
      ...['start', ...shown(primary), '--ggate-port', '0', '--ggate-tls-cert', primary.certificateFile],
      ...['--ggate-tls-key', primary.keyFile, '--ggate-tls-ca', authority.certificateFile],
      ...['data', world.local, backup],
    );
    const { ggate } = await world.untilState('COMPLETE');
    const port = ggate?.addresses[0]?.port;
    if (port === undefined) throw new Error('the mirror is not served over ggate');
    return { uri: `ggates://127.0.0.1:${port}${PATH}`, port };
  }

  test('is a disk for clients with a certificate, and for nobody else', async () => {
    const { uri, port } = await start();
    const client = shown(maker.sign(authority, 'client', '/CN=client'));
    const source = world.scratch.path('source.img');
    writeFileSync(source, randomBytes(4 * 1_048_576));
    await world.succeed('copy', '--force', '--verify', ...client, source, uri);

    const trust = ['--tls-ca', authority.certificateFile];
    const stranger = maker.authority('stranger');
    const refused = await Promise.all([
      world.run('info', `ggate://127.0.0.1:${port}${PATH}`),
      world.run('info', ...trust, uri),
      world.run('info', ...trust, '--tls-cert', stranger.certificateFile, '--tls-key', stranger.keyFile, uri),
      world.run('info', ...shown(primary).with(1, stranger.certificateFile), uri),
    ]);
    for (const { code, stderr } of refused) {
      expect(code).toBe(1);
      expect(stderr.trim().split('\n')).toHaveLength(1);
      expect(stderr).toContain(`127.0.0.1:${port}`);
    }
    expect((await world.status()).state).toBe('COMPLETE');
    const { ofLocal, ofBackup } = await world.stopAndRead();
    expect(ofLocal.equals(ofBackup)).toBe(true);

    // Nor does a mirror with a wrong certificate of its own start as if its backup were gone.
    const backup = `ggates://127.0.0.1:${world.port}${world.backup}`;
    const started = await world.run('start', ...shown(stranger), 'data', world.local, backup);
    expect(started.code).toBe(1);
    expect(started.stderr).toContain('1 of 2 components is missing');
    expect(started.stderr).toContain(backup);
  });
});
