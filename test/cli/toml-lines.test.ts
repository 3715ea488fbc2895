import { parse } from 'smol-toml';
import { describe, expect, test } from 'vitest';
import { tomlLines, type TomlPath } from '../../src/cli/config/toml-lines.js';

const TEXT = `# mirrors = 1
timeout = 5 # = 6
"a.b" = '''
x = 1
''''

[mirror.sites]
components = [
  "/root/a # b.img", # first
  { uri = "ggate://b/\\"c", timeout = 3 },
  {
    path = "/x", priority = 3,
  },
]
  balance   =   "prefer"
nbd.socket = 'C:\\'
list = [1, [2,
  3]]

[mirror."other name"]
text = """
"quoted" [mirror.fake]
\\""" still """""
at = 1979-05-27 07:32:00Z
after = 1979-05-27T07:32:00Z

[[mirror.x.components]]
path = "/1"
[[mirror.x.components]]
path = "/2"
[mirror.x.components.more]
deep = true
`;

const line = (...path: TomlPath): number => tomlLines(TEXT)(path);

describe('the line of a key', () => {
  test('is looked for in text that is TOML', () => {
    expect(() => parse(TEXT)).not.toThrow();
  });

  test.each<[number, TomlPath]>([
    [2, ['timeout']],
    [3, ['a.b']],
    [7, ['mirror']],
    [7, ['mirror', 'sites']],
    [8, ['mirror', 'sites', 'components']],
    [9, ['mirror', 'sites', 'components', 0]],
    [10, ['mirror', 'sites', 'components', 1, 'uri']],
    [10, ['mirror', 'sites', 'components', 1, 'timeout']],
    [11, ['mirror', 'sites', 'components', 2]],
    [12, ['mirror', 'sites', 'components', 2, 'priority']],
    [15, ['mirror', 'sites', 'balance']],
    [16, ['mirror', 'sites', 'nbd', 'socket']],
    [18, ['mirror', 'sites', 'list', 1, 1]],
    [20, ['mirror', 'other name']],
    [25, ['mirror', 'other name', 'after']],
    [27, ['mirror', 'x', 'components', 0]],
    [30, ['mirror', 'x', 'components', 1, 'path']],
    [32, ['mirror', 'x', 'components', 1, 'more', 'deep']],
  ])('is %i for %j', (expected, path) => {
    expect(line(...path)).toBe(expected);
  });

  test('that is not there is that of what it should be in', () => {
    expect(line('mirror', 'sites', 'components', 1, 'path')).toBe(10);
    expect(line('mirror', 'sites', 'hook')).toBe(7);
    expect(line('nothing')).toBe(1);
  });

  test('is found beyond the line ends of other systems', () => {
    expect(tomlLines('a = 1\r\nb = [\r\n 2]\r\nc = 3\r\n')(['c'])).toBe(4);
  });
});
