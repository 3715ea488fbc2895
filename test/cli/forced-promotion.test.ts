import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { COMMAND } from '../../src/protocol/request.js';
import { FlushTrouble } from '../support/flush-trouble.js';
import { RawClients } from '../support/raw-clients.js';
import { request } from '../support/requests.js';
import { TwoHosts, type Host } from '../support/two-hosts.js';
import { until } from '../support/until.js';

const MIB = 1_048_576;

let hosts: TwoHosts;
let primary: Host;
let backup: Host;

beforeEach(async () => {
  hosts = await TwoHosts.make({ imageBytes: 8 * MIB });
  ({ primary, backup } = hosts);
});
afterEach(async () => await hosts.close());

const untilSynchronizing = (): Promise<unknown> =>
  until('the backup to be copied to', async () => {
    const { components } = await primary.status();
    return components.some(({ name, state }) => name === backup.uri && state === 'SYNCHRONIZING');
  });

test('a backup is not promoted while it is copied to; by force it is a split brain with the one that it was copied from', async () => {
  await backup.serve();
  await primary.succeed('label', hosts.name, primary.image, backup.uri);
  const ofPrimary = randomBytes(4 * MIB);
  await primary.succeed('start', hosts.name, primary.image, '--degraded');
  await primary.write(0, ofPrimary);
  await primary.stopMirror();
  // So slow that it does not end here.
  const both = [primary.image, backup.uri];
  await primary.succeed('start', hosts.name, ...both, '--resync-rate', '64k');
  await untilSynchronizing();

  const words = [hosts.name, backup.image, primary.uri];
  expect(await backup.fail('promote', ...words)).toContain('is in use by 127.0.0.1');
  const refused = await backup.fail('promote', '--force', ...words);
  expect(refused).toContain(`${backup.image} was being copied to, and is a mixture of old and new`);
  expect(refused).toContain("'ggmirror promote --inconsistent'");
  // Its server has it again, and the primary goes on with its copy.
  await untilSynchronizing();

  const said = await backup.succeed('promote', '--force', '--inconsistent', ...words);
  expect(said).toContain(`warning: ${backup.image}: it is a mixture of old and new data`);
  expect(said).toContain(`degraded: without ${primary.uri}\n`);
  const { components } = await backup.status();
  expect(components.find(({ name }) => name === backup.image)?.why).toContain('mixture');
  const ofBackup = randomBytes(64 * 1024);
  await backup.write(0, ofBackup);
  await backup.succeed('demote', hosts.name);

  await primary.stopMirror();
  expect(await primary.fail('start', hosts.name, ...both)).toContain('split brain');
  expect(primary.imageBytes(0, ofPrimary.length).equals(ofPrimary)).toBe(true);
  expect(backup.imageBytes(0, ofBackup.length).equals(ofBackup)).toBe(true);
});

test('a backup that failed to flush when it was let go of is not promoted; by force it is, and says what may be lost', async () => {
  const trouble = new FlushTrouble(hosts.directory);
  backup.environment = trouble.environment;
  await backup.serve();
  await primary.succeed('label', hosts.name, primary.image, backup.uri);
  const clients = new RawClients(() => ({ port: backup.port, path: backup.image }));
  const client = await clients.attach();
  client.write(request(COMMAND.write, 0, 512, 1, Buffer.alloc(512)));
  expect((await client.reply())?.errorNumber).toBe(0);
  trouble.begin('fails');

  const words = [hosts.name, backup.image, primary.uri];
  expect(await backup.fail('promote', ...words)).toContain('is in use by 127.0.0.1');
  clients.close();
  await until('the client to be gone', async () => {
    const refused = await backup.fail('promote', ...words);
    return refused.includes('in use by 127.0.0.1') ? null : refused;
  });
  // Nor later, as long as that is so.
  const refused = await backup.fail('promote', ...words);
  expect(refused).toContain(
    `${backup.image} may have lost what was written to it last, because a flush of it failed`,
  );
  expect(refused).toContain('--force');
  trouble.end();
  const said = await backup.succeed('promote', '--force', ...words);
  expect(said).toContain(`warning: ${backup.image}: it may have lost what was written to it last`);
  await backup.status();
});
