import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { createProgram } from '../src/cli/program.js';

const ROOT = join(import.meta.dirname, '..');
const PAGES = ['README.md', 'CHANGELOG.md', ...readdirSync(join(ROOT, 'docs')).map((name) => `docs/${name}`)];
const read = (page: string): string => readFileSync(join(ROOT, page), 'utf8');

/** The pages and files of ours that a page has links to. */
const linksOf = (page: string): string[] =>
  [...read(page).matchAll(/\]\(([^)\s]+)\)/g)]
    .map(([, target = '']) => target)
    .filter((one) => !/^[a-z]+:/.test(one));

/** The anchors of a page's headings. */
const anchorsOf = (page: string): string[] =>
  [...read(page).matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  );

describe('the documentation', () => {
  test('has links only to what is there', () => {
    const broken = PAGES.flatMap((page) =>
      linksOf(page)
        .filter((link) => {
          const [path = '', anchor] = link.split('#');
          const target = path === '' ? page : join(dirname(page), path);
          if (!existsSync(join(ROOT, target))) return true;
          return anchor !== undefined && !anchorsOf(target).includes(anchor);
        })
        .map((link) => `${page}: ${link}`),
    );
    expect(PAGES.flatMap(linksOf).length).toBeGreaterThan(20);
    expect(broken).toEqual([]);
  });

  test('has every page named in README', () => {
    const linked = linksOf('README.md');
    const unnamed = PAGES.filter((page) => page.startsWith('docs/') && !linked.includes(page));
    expect(unnamed).toEqual([]);
  });

  test('names a test for each sentence of the scenario', () => {
    const rows = [...read('docs/scenario.md').matchAll(/^\| .* \| `(test\/[^`]+)`: (.*) \|$/gm)];
    expect(rows.length).toBeGreaterThan(20);
    const unknown = rows.filter(([, file = '', name = '']) => !read(file).includes(name));
    expect(unknown.map(([row]) => row)).toEqual([]);
  });

  test('names every command in README', async () => {
    const commands = (await createProgram()).commands.map((command) => command.name());
    expect(commands.length).toBeGreaterThan(20);
    const readme = read('README.md');
    const isNamed = (name: string): boolean => new RegExp(`\`(ggmirror )?${name}\\b`).test(readme);
    expect(commands.filter((name) => !isNamed(name))).toEqual([]);
  });
});
