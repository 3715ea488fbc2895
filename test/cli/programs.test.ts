import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const ROOT = join(import.meta.dirname, '../..');
const { bin, version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
  readonly bin: Readonly<Record<string, string>>;
  readonly version: string;
};

// npx makes them so only when it sees a checkout for the first time.
test('the build makes programs that can be run as they are', () => {
  expect(Object.keys(bin)).toEqual(['ggmirror', 'ggated']);
  const program = join(ROOT, bin['ggmirror'] ?? '');
  expect(execFileSync(program, ['--version'], { encoding: 'utf8' }).trim()).toBe(version);
  // FreeBSD's has no option for that; an unknown one is a usage error, and not a program that can't be run.
  expect(() => execFileSync(join(ROOT, bin['ggated'] ?? ''), ['-X'], { stdio: 'pipe' })).toThrow(/usage/i);
});

test('a package holds the programs, pages and scripts that a user needs, and nothing else', () => {
  const words = ['pack', '--dry-run', '--json', '--ignore-scripts'];
  const said = execFileSync('npm', words, {
    cwd: ROOT,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const [{ files } = { files: [] }] = JSON.parse(said) as readonly { files: readonly { path: string }[] }[];
  const paths = files.map(({ path }) => path);
  const needed = [...Object.values(bin), 'README.md', 'LICENSE', 'docs/failover.md', 'etc/rc.d/ggmirror'];
  expect(paths).toEqual(expect.arrayContaining(needed));
  const isWanted = (path: string): boolean =>
    /^(dist\/.*\.c?js|docs\/.*\.md|etc\/(rc\.d|systemd)\/[^/]+|[^/]+)$/.test(path);
  expect(paths.filter((path) => !isWanted(path))).toEqual([]);
});
