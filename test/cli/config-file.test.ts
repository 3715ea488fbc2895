import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { COMPONENT_KEYS } from '../../src/cli/config/component-keys.js';
import { defaultConfigPath, type MirrorConfig, parseConfig } from '../../src/cli/config/config-file.js';
import { ALL_START_OPTIONS } from '../../src/cli/mirrors/start-options.js';

const FILE = '/etc/ggmirror.toml';

const parse = (...lines: readonly string[]): MirrorConfig[] => parseConfig(FILE, lines.join('\n'));

describe('the configuration file', () => {
  test('describes mirrors, their components and all that start can be told', () => {
    const mirrors = parse(
      'timeout = 5',
      'resync-rate = "100M"',
      '[mirror.sites]',
      'components = [',
      '  "/root/images/a,b.img",',
      '  { uri = "ggate://backup/root/b.img", priority = 10, timeout = 2.5 },',
      ']',
      'autosync = false',
      'timeout = 20',
      'nbd-port = 10809',
      '[mirror.other]',
      'components = ["ggates://backup/c"]',
      'balance = "round-robin"',
    );
    expect(mirrors).toEqual([
      {
        name: 'sites',
        components: [
          { provider: '/root/images/a,b.img', area: null, priority: null, timeoutMs: null },
          { provider: 'ggate://backup/root/b.img', area: null, priority: 10, timeoutMs: 2500 },
        ],
        options: { timeout: 20, resyncRate: 104_857_600, autosync: false, nbdPort: 10_809 },
      },
      {
        name: 'other',
        components: [{ provider: 'ggates://backup/c', area: null, priority: null, timeoutMs: null }],
        options: { timeout: 5, resyncRate: 104_857_600, balance: 'round-robin' },
      },
    ]);
  });

  test('may be empty', () => {
    expect(parse('# nothing yet')).toEqual([]);
  });

  const SITES = ['[mirror.sites]', 'components = ["/a", "/b"]'];

  test.each<[string, readonly string[]]>([
    ['1: mirror: expected a table', ['mirror = 1']],
    ['1: mirror.sites: expected a table', ['mirror.sites = 1979-05-27']],
    ['1: mirrors: no such key; there are mirror, ', ['[mirrors.sites]']],
    ['1: nbd-port: no such key; there are mirror, ', ['nbd-port = 1']],
    ['1: mirror.sites.components: expected a list of components', ['[mirror.sites]', 'timeout = 1']],
    ['2: mirror.sites.components: expected a list', ['[mirror.sites]', 'components = []']],
    ['2: mirror.sites.components: expected a list', ['[mirror.sites]', 'components = "/a"']],
    ['3: mirror.sites.resynk-rate: no such key; there are components, ', [...SITES, 'resynk-rate = 1']],
    ['3: mirror.sites.timeout: expected a number', [...SITES, 'timeout = "10"']],
    ['3: mirror.sites.timeout: expected a number of seconds greater than 0', [...SITES, 'timeout = 0']],
    ['3: mirror.sites.timeout: expected a number of seconds', [...SITES, 'timeout = inf']],
    ['3: mirror.sites.autosync: expected true or false', [...SITES, 'autosync = "no"']],
    ['3: mirror.sites.resync-rate: expected a number of bytes', [...SITES, 'resync-rate = "fast"']],
    ['3: mirror.sites.resync-rate: expected a number or a string', [...SITES, 'resync-rate = [1]']],
    ['4: mirror.sites.balance: expected one of load, ', [...SITES, '', 'balance = "best"']],
    ['3: mirror.sites.nbd-socket: expected a path from the root', [...SITES, 'nbd-socket = "x"']],
    ['3: mirror.sites.nbd-port: expected a whole number from 0 to 65535', [...SITES, 'nbd-port = 70000']],
    ['1: mirror.sites: /a is given twice', ['[mirror.sites]', 'components = ["/a", "/a"]']],
    ["1: mirror.a b: 'a b' can't be a mirror's name", ['[mirror."a b"]', 'components = ["/a"]']],
    [
      "4: mirror.two.components[0]: mirror 'sites' has /b already",
      [...SITES, '[mirror.two]', 'components = ["/b"]'],
    ],
    [
      "7: mirror.two.nbd-port: mirror 'sites' has port 99 already",
      [...SITES, 'nbd-port = 99', '', '[mirror.two]', 'components = ["/c"]', 'nbd-port = 99'],
    ],
  ])('is refused with line and key: %s', (message, lines) => {
    expect(() => parse(...lines)).toThrow(`${FILE}:${message}`);
  });

  test.each<[string, string]>([
    ['mirror.sites.components[0]: expected either a path or a uri', '{ priority = 1 }'],
    ['mirror.sites.components[0]: expected either a path or a uri', '{ path = "/a", uri = "ggate://b/c" }'],
    ['mirror.sites.components[0].path: expected a string', '{ path = 3 }'],
    ["mirror.sites.components[0].path: 'ggate://b/c' is a uri", '{ path = "ggate://b/c" }'],
    ["mirror.sites.components[0].uri: '/a' is not of the form ggate://", '{ uri = "/a" }'],
    ['mirror.sites.components[0]: expected a path from the root', '"a.img"'],
    ['mirror.sites.components[0]: expected a path', '""'],
    ["mirror.sites.components[0]: 'ggate://b' is not of the form ggate://", '"ggate://b"'],
    ['mirror.sites.components[0]: expected a table', '3'],
    ['mirror.sites.components[0].prio: no such key; there are path, uri, ', '{ path = "/a", prio = 1 }'],
    ['mirror.sites.components[0].priority: expected a whole number', '{ path = "/a", priority = 256 }'],
  ])('is refused for a component that is none: %s', (message, component) => {
    expect(() => parse('[mirror.sites]', 'components = [', component, ']')).toThrow(`${FILE}:3: ${message}`);
  });

  test.each([
    ['a = ', 1],
    ['[mirror.sites]\na = 1\na = 2', 3],
    ['[mirror.sites', 1],
  ])('that is no TOML is refused in one line: %j', (text, line) => {
    expect(() => parseConfig(FILE, text)).toThrow(new RegExp(`^${FILE}:${line}: [^\n]+$`));
  });

  test('is where the system has such files', () => {
    expect(defaultConfigPath('linux')).toBe('/etc/ggmirror.toml');
    expect(defaultConfigPath('freebsd')).toBe('/usr/local/etc/ggmirror.toml');
  });
});

describe('docs/configuration.md', () => {
  const text = readFileSync(join(import.meta.dirname, '../../docs/configuration.md'), 'utf8').replace(
    / +/g,
    ' ',
  );

  test.each(ALL_START_OPTIONS.map(({ key }) => key))('tells of the option %s', (key) => {
    expect(text).toContain(`\n| \`${key}\` |`);
  });

  test.each(COMPONENT_KEYS.map(({ key }) => key))("tells of a component's %s", (key) => {
    expect(text).toContain(`\n| \`${key}\` |`);
  });

  test('shows a file that is right', () => {
    const [, example = ''] = /```toml\n(.*?)```/s.exec(text) ?? [];
    expect(parseConfig(FILE, example).length).toBeGreaterThan(0);
  });
});
