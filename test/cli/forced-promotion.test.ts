import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, expect, test } from 'vitest';
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
}, 120_000);
