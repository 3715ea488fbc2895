import { randomBytes } from 'node:crypto';
import { existsSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { defaultConfigPath } from '../../src/cli/config/config-file.js';
import { ALL_START_OPTIONS } from '../../src/cli/mirrors/start-options.js';
import { createProgram } from '../../src/cli/program.js';
import { createImage } from '../../src/device/file-device.js';
import { MirrorWorld } from '../support/mirror-world.js';
import { pauseFamily } from '../support/processes.js';

let world: MirrorWorld;

beforeEach(async () => {
  world = await MirrorWorld.make();
});
afterEach(async () => await world.close());

/** Returns its path. */
function writeConfig(...lines: readonly string[]): string {
  const path = world.scratch.path('ggmirror.toml');
  writeFileSync(path, lines.join('\n'));
  return path;
}

const dataMirror = (...lines: readonly string[]): string =>
  writeConfig(
    '[mirror.data]',
    `components = ["${world.local}", { uri = "${world.uri}", timeout = 8, priority = 3 }]`,
    ...lines,
  );

describe('start with a configuration file', () => {
  test('runs all mirrors of it, again only those that do not run, and tells of those that can not run', async () => {
    const other = world.scratch.path('other.img');
    await createImage(other, 8 * 1_048_576);
    const config = dataMirror('[mirror.broken]', `components = ["${other}"]`);
    await world.label();
    const first = await world.run('start', '--config', config);
    expect(first.stdout).toMatch(/^mirror\/data runs \(process \d+\)/);
    expect(first.stderr).toMatch(/^ggmirror: mirror\/broken: .*other\.img has no gmirror label/m);
    expect(first.stderr).toMatch(/^ggmirror: 1 of 2 mirrors were not started$/m);
    expect(first.code).toBe(1);
    const { pid } = await world.untilState('COMPLETE');
    await world.succeed('label', 'broken', other);
    const second = await world.run('start', '--config', config);
    expect(second).toMatchObject({ code: 0, stderr: '' });
    expect(second.stdout).toMatch(/^mirror\/data runs already\nmirror\/broken runs \(process \d+\)/);
    expect((await world.status()).pid).toBe(pid);
    await world.succeed('stop', 'broken');
    await world.succeed('stop', 'data');
  });

  test('runs the one that is named, with what the file says of it; the command line wins', async () => {
    const config = dataMirror('autosync = false', 'balance = "split"', 'slice = "128k"');
    await world.label();
    await world.succeed('start', 'data', '--config', config, '--balance', 'load');
    const status = await world.untilState('COMPLETE');
    expect(status).toMatchObject({ isAutosync: false, balance: 'load', sliceBytes: 131_072 });
    expect(world.remoteOf(status)?.priority).toBe(3);
  });

  test('drops a silent component within the time-out of its own', async () => {
    const config = dataMirror('timeout = 50');
    await world.label();
    await world.succeed('start', 'data', '--config', config);
    await world.untilState('COMPLETE');
    const client = await world.attach();
    const resume = await pauseFamily(world.server?.pid ?? 0);
    try {
      expect((await client.write(0, randomBytes(65_536))).errno).toBe(0);
      const degraded = await world.untilState('DEGRADED');
      expect(world.remoteOf(degraded)?.state).toBe('DISCONNECTED');
    } finally {
      resume();
    }
    client.destroy();
  });

  test('says with --check what would run, and runs nothing', async () => {
    const config = dataMirror('nbd-port = 10809');
    const { stdout, stderr, code } = await world.run('start', '--check', '--config', config);
    expect(code).toBe(0);
    expect(stderr).toMatch(/^ggmirror: warning: every user of this machine can read and overwrite .*\n$/);
    expect(stdout.split('\n').slice(0, 3)).toEqual([
      'mirror/data',
      `  ${world.local}`,
      `  ${world.uri} (priority 3, time-out 8 s)`,
    ]);
    // As the file has them.
    const keys = stdout
      .split('\n')
      .slice(3, -1)
      .map((line) => line.trim().split(': ')[0]);
    const known = ALL_START_OPTIONS.map(({ key }) => key);
    expect(keys).toEqual(expect.arrayContaining(['start-policy', 'timeout', 'nbd-port', 'log-level']));
    expect(keys.filter((key) => key !== undefined && !known.includes(key))).toEqual([]);
    const told: unknown = JSON.parse(await world.succeed('start', '--check', '--json', '--config', config));
    expect(told).toMatchObject([{ name: 'data', nbdTcp: { host: '127.0.0.1', port: 10_809 } }]);
    expect(await world.succeed('status')).toBe('');
  });

  test('is refused for a mistake in the file, in one line with its place', async () => {
    const config = dataMirror('timeout = "long"');
    const { code, stdout, stderr } = await world.run('start', '--config', config);
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toBe(`ggmirror: ${config}:3: mirror.data.timeout: expected a number\n`);
  });

  test.skipIf(existsSync(defaultConfigPath(process.platform))).each([
    ['no components of mirror/data are named, and there is no ', ['data']],
    ['no mirror is named, and there is no ', []],
  ])('is refused where there is no file, either: %s', async (says, words) => {
    const parsed = (await createProgram('start')).parseAsync(['node', 'ggmirror', 'start', ...words]);
    await expect(parsed).rejects.toThrow(says);
  });

  test.each<[string, (config: string) => string[]]>([
    ['no such file', (config) => ['--config', `${config}.x`]],
    ['no [mirror.other]; there are data', (config) => ['other', '--config', config]],
    ['leave them or --config out', (config) => ['data', '/a.img', '--config', config]],
  ])('is refused: %s', async (says, words) => {
    const parsed = (await createProgram('start')).parseAsync([
      'node',
      'ggmirror',
      'start',
      ...words(dataMirror()),
    ]);
    await expect(parsed).rejects.toThrow(says);
  });
});
