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
