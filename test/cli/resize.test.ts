import { randomBytes } from 'node:crypto';
import { statSync, truncateSync } from 'node:fs';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { MirrorWorld } from '../support/mirror-world.js';
import { NbdClient } from '../support/nbd-client.js';

const MIB = 1_048_576;

let world: MirrorWorld;

beforeEach(async () => {
  world = await MirrorWorld.make();
});
afterEach(() => world.close());

test('a mirror that is stopped grows with its image, whose private area is in a file, and its export, keeps its data, and its NBD clients see the new size', async () => {
  const { name, local: image, backup, uri } = world;
  const local = `${image},area=${world.scratch.path('local.area')}`;
  await world.serveBackup();
  await world.succeed('label', name, local, uri);
  await world.succeed('start', name, local, uri);
  await world.untilState('COMPLETE');
  const bytes = randomBytes(65_536);
  const before = await world.attach();
  expect((await before.write(4 * MIB, bytes)).errno).toBe(0);
  const { mediaSizeBytes: beforeBytes } = await world.status();
  await before.disconnect();
  await world.stopAndRead();
  expect((await world.run('resize', name, local, uri)).stderr).toContain(
    'Cannot expand provider mirror/data',
  );
  for (const one of [image, backup]) truncateSync(one, 2 * statSync(one).size);
  const refused = await world.run('start', name, local, uri);
  expect(refused).toMatchObject({ code: 1 });
  expect(refused.stderr).toContain("'ggmirror resize' comes first");
  const told = JSON.parse(await world.succeed('resize', '--json', name, local, uri)) as object;
  expect(told).toEqual({ beforeBytes, nowBytes: beforeBytes + 32 * MIB });
  await world.succeed('start', name, local, uri);
  await world.untilState('COMPLETE');
  const after = await NbdClient.connect({ unixPath: world.nbdPath });
  expect((await after.go(name)).mediaSizeBytes).toBe(beforeBytes + 32 * MIB);
  expect((await after.read(4 * MIB, bytes.length)).data.equals(bytes)).toBe(true);
  expect((await after.write(60 * MIB, bytes)).errno).toBe(0);
  await after.disconnect();
  const { ofLocal, ofBackup } = await world.stopAndRead();
  expect(ofLocal.equals(ofBackup)).toBe(true);
  expect(ofLocal.subarray(60 * MIB, 60 * MIB + bytes.length).equals(bytes)).toBe(true);
});

test('a mirror in use grows with its image and its export: its clients go on, and those that come see the new size', async () => {
  const { name, local, backup, uri } = world;
  await world.startMirror();
  await world.untilState('COMPLETE');
  const bytes = randomBytes(65_536);
  const client = await world.attach();
  expect((await client.write(4 * MIB, bytes)).errno).toBe(0);
  const { mediaSizeBytes: beforeBytes } = await world.status();
  const early = await world.run('resize', name);
  expect(early).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('has room for no more') as string,
  });
  expect((await client.write(5 * MIB, bytes)).errno).toBe(0);
  expect((await world.run('resize', name, local, uri)).stderr).toContain(
    'knows its components; leave them out',
  );
  for (const image of [local, backup]) truncateSync(image, 2 * statSync(image).size);
  const told = JSON.parse(await world.succeed('resize', '--json', name)) as object;
  expect(told).toEqual({ beforeBytes, nowBytes: beforeBytes + 32 * MIB });
  expect(await world.status()).toMatchObject({ mediaSizeBytes: beforeBytes + 32 * MIB, state: 'COMPLETE' });
  expect((await client.write(6 * MIB, bytes)).errno).toBe(0);
  const next = await NbdClient.connect({ unixPath: world.nbdPath });
  expect((await next.go(name)).mediaSizeBytes).toBe(beforeBytes + 32 * MIB);
  for (const at of [4, 5, 6]) expect((await next.read(at * MIB, bytes.length)).data.equals(bytes)).toBe(true);
  expect((await next.write(60 * MIB, bytes)).errno).toBe(0);
  for (const one of [client, next]) await one.disconnect();
  const { ofLocal, ofBackup } = await world.stopAndRead();
  expect(ofLocal.equals(ofBackup)).toBe(true);
  expect(ofLocal.subarray(60 * MIB, 60 * MIB + bytes.length).equals(bytes)).toBe(true);
});
