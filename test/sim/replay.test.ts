import { spawnSync } from 'node:child_process';
import { beforeAll, expect, test } from 'vitest';

const ROOT = new URL('../..', import.meta.url).pathname;
/** What is planted is found in the first life or soon after. */
const FIRST = 'npm run sim -- --plant "ranges are not locked" --runs 8';

interface Said {
  readonly status: number | null;
  readonly text: string;
}

/** What a person would see who types this in the project's folder. */
function typed(command: string): Said {
  const { status, stdout, stderr } = spawnSync('sh', ['-c', command], {
    ...{ cwd: ROOT, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], maxBuffer: 2 ** 28 },
  });
  return { status, text: `${stdout}\n${stderr}` };
}

/** Each life that failed: what was wrong, and the command that is said to repeat it. */
const failuresIn = (text: string): { wrong: string; replay: string }[] =>
  [...text.matchAll(/^seed \d+(?:, with these alone)?: (.*)\n(?: {4}at .*\n)*? {2}replay: (.*)$/gm)].map(
    ([, wrong = '', replay = '']) => ({ wrong, replay }),
  );

/** The trace ends with what was wrong, and so does the exit status say. */
function mustRepeat(wrong: string, { status, text }: Said): void {
  expect(status).toBe(1);
  const lines = text.split('\n');
  const at = lines.findIndex((line) => line.includes(' s  FAILED: '));
  expect(lines[at]).toContain(wrong);
  expect(failuresIn(text)[0]?.wrong).toBe(wrong);
  const before = lines.slice(0, at).filter((line) => /^ +\d+\.\d+ s {2}/.test(line));
  expect(before.length).toBeGreaterThan(10);
}

let first: Said;
let found: { readonly wrong: string; readonly replay: string };

beforeAll(() => {
  first = typed(FIRST);
  found = failuresIn(first.text)[0] ?? { wrong: '', replay: '' };
});

test('a life that breaks a promise is told with the command that repeats it with a trace, and that command does', () => {
  expect(first.status).toBe(1);
  expect(first.text).not.toContain(' s  FAILED: ');
  expect(found.replay).toMatch(
    /^npm run sim -- --seed \d+ --wire queue --plant "ranges are not locked" --trace$/,
  );
  mustRepeat(found.wrong, typed(found.replay));
});

test('so is what is left of it when everything that it fails without is left out', () => {
  const { status, text } = typed(found.replay.replace('--trace', '--minimise'));
  expect(status).toBe(1);
  const [, least] = failuresIn(text);
  expect(least?.replay).toMatch(/ --steps [\d,-]+ --trace$/);
  expect(text).toMatch(/^ {2}\d+ of \d+ steps are enough:$/m);
  mustRepeat(least?.wrong ?? '', typed(least?.replay ?? ''));
});

test('without the mistake the same life goes well', () => {
  const { status, text } = typed(found.replay.replace(/ --plant "[^"]*"/, '').replace(' --trace', ''));
  expect(text).toContain(' 0 failed');
  expect(status).toBe(0);
});
