import { closeSync, existsSync, openSync, writeSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { UsageError } from '../../src/cli/errors.js';
import { createProgram } from '../../src/cli/program.js';
import { createImage } from '../../src/device/file-device.js';
import { MirrorWorld } from '../support/mirror-world.js';
import { until } from '../support/until.js';

let world: MirrorWorld;
let third: string;

beforeEach(async () => {
  world = await MirrorWorld.make();
  third = world.scratch.path('third.img');
  await createImage(third, 32 * 1_048_576);
});
afterEach(() => world.close());

const componentsOf = async (): Promise<string[]> =>
  (await world.status()).components.map(({ name, state }) => `${name} ${state}`);

test('components of a running mirror come, rest and go, and a destroyed mirror leaves images without labels', async () => {
  await world.startMirror();
  await world.untilState('COMPLETE');
  const client = await world.attach();
  const bytes = randomBytes(65_536);
  expect((await client.write(1_048_576, bytes)).errno).toBe(0);

  const area = world.scratch.path('third.area');
  await world.succeed('insert', world.name, `${third},priority=9,timeout=40,area=${area}`);
  await world.untilState('COMPLETE');
  expect(await componentsOf()).toContain(`${third} ACTIVE`);
  expect((await world.run('insert', world.name, third)).stderr).toContain(
    `Provider ${third} already inserted.`,
  );
  expect(await world.succeed('dump', third)).toMatch(/all: 3\n[^]*priority: 9\n/);

  const { components } = await world.status();
  const uuid = components.find(({ name }) => name === third)?.uuid ?? 'none';
  await world.succeed('deactivate', world.name, uuid);
  expect(await componentsOf()).toContain(`${third} DISCONNECTED`);
  expect((await client.write(4_194_304, bytes)).errno).toBe(0);
  expect(await world.succeed('status', '-s')).toContain(`${third} (DISCONNECTED, INACTIVE)`);
  expect(await world.succeed('list')).toMatch(/State: DISCONNECTED\n.*\n {3}Flags: INACTIVE\n/);
  expect(await world.succeed('activate', '-v', world.name, third)).toBe(`Provider ${third} activated.\n`);
  await world.untilState('COMPLETE');

  await world.succeed('remove', world.name, world.local);
  expect(await componentsOf()).toEqual([`${world.uri} ACTIVE`, `${third} ACTIVE`]);
  expect((await client.read(1_048_576, bytes.length)).data.equals(bytes)).toBe(true);
  expect((await world.run('dump', world.local)).code).toBe(1);

  await world.killBackup();
  expect((await client.write(0, bytes)).errno).toBe(0);
  await until('the loss', async () => (await componentsOf()).includes(`${world.uri} DISCONNECTED`));
  expect((await world.run('remove', world.name, third)).stderr).toContain("Try 'forget' command first.");
  expect(await world.succeed('forget', '--json', world.name)).toBe(`{"${world.name}":["${world.uri}"]}\n`);
  expect((await world.run('remove', world.name, third)).stderr).toContain(
    `data: Can't remove the last ACTIVE component ${third}.`,
  );
  expect((await world.run('destroy', world.name)).stderr).toContain('is in use by a client');
  await client.disconnect();
  await until('no client', async () => (await world.status()).clients === 0);
  expect(existsSync(area)).toBe(true);
  await world.succeed('destroy', world.name);
  expect((await world.run('dump', third)).code).toBe(1);
  expect(existsSync(area)).toBe(false);
});

test('a running mirror is told other settings, which its labels have, and refuses in one line what can not be', async () => {
  await world.startMirror('--nbd-port', '0');
  await world.untilState('COMPLETE');
  await world.succeed('configure', '-n', '-F', '-b', 'split', '-s', '64k', world.name);
  expect(await world.status()).toMatchObject({ balance: 'split', sliceBytes: 65_536, isAutosync: false });
  expect(await world.succeed('list', world.name)).toContain('Flags: NOFAILSYNC, NOAUTOSYNC\n');
  expect(await world.succeed('dump', world.local)).toMatch(
    /slice: 65536\n +balance: split\n[^]*mflags: NOFAILSYNC NOAUTOSYNC\n/,
  );
  await world.succeed('configure', '-p', '200', world.name, world.local);
  expect(await world.succeed('dump', world.local)).toContain('priority: 200\n');
  for (const [code, message, ...words] of [
    [1, 'Nothing has changed.', '-n', world.name],
    [1, `${world.local} has no name of at most 15 bytes`, '-h', world.name],
    [1, 'has no component /nowhere', '-p', '1', world.name, '/nowhere'],
    [1, 'No such geom: other', '-a', 'other'],
  ] as const) {
    const refused = await world.run('configure', ...words);
    expect(refused).toMatchObject({ code, stdout: '' });
    expect(refused.stderr).toContain(message);
    expect(refused.stderr.trim().split('\n')).toHaveLength(1);
  }
});

test.each([
  ["'autosync' and 'noautosync' specified.", ['-a', '-n', 'data']],
  ["'hardcode' and 'dynamic' specified.", ['-d', '-h', 'data']],
  ['Priority needs a disk name', ['-p', '1', 'data']],
  ['only -p accepted when setting priority', ['-p', '1', '-a', 'data', '/x']],
  ['a component is only named with -p', ['-a', 'data', '/x']],
  ['nothing to change', ['data']],
])('configure asks no mirror when it is used in a wrong way: %s', async (message, words) => {
  const parsing = (await createProgram()).parseAsync(['node', 'ggmirror', 'configure', ...words]);
  await expect(parsing).rejects.toThrow(message);
  await expect(parsing).rejects.toBeInstanceOf(UsageError);
});

test('insert does not write over what looks used unless it is told to', async () => {
  await world.startMirror();
  await world.untilState('COMPLETE');
  const fd = openSync(third, 'r+');
  writeSync(fd, 'somebody’s letters');
  closeSync(fd);
  const refused = await world.run('insert', world.name, third);
  expect(refused).toMatchObject({ code: 1 });
  expect(refused.stderr).toContain('give --force');
  expect(refused.stderr.trim().split('\n')).toHaveLength(1);
  await world.succeed('insert', '--force', world.name, third);
  await world.untilState('COMPLETE');
  const { ofLocal, ofBackup } = await world.stopAndRead();
  expect(ofLocal.equals(ofBackup)).toBe(true);
});
