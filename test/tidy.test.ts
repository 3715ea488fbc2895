import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { describe, expect, test } from 'vitest';

const ROOT = join(import.meta.dirname, '..');

/** Which folder of src may import which; its own is always allowed. A new arrow is a change of design, not of this. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  protocol: [],
  device: ['protocol'],
  client: ['protocol', 'device'],
  server: ['protocol', 'device'],
  mirror: ['protocol', 'device'],
  control: ['protocol', 'device', 'client', 'server', 'mirror'],
  cli: ['protocol', 'device', 'client', 'server', 'mirror', 'control'],
};

const LINES_MAX = 330;

/** What has one home, and the files beside it that may use it, each with its reason. */
const BANNED = [
  {
    what: /\bDate\.now\b|\bnew Date\b|\bperformance\.now\b|\bhrtime\b/,
    instead: 'a Clock (src/device/clock.ts)',
    allowed: {
      'src/device/clock.ts': 'its home',
      'src/server/session/blocking-wire.ts': 'runs in the same thread',
      'src/server/session/engine-thread.ts':
        'blocks in system calls, so no timer of a clock would ever run there',
      'src/device/disk-thread/thread.ts': 'blocks in system calls, too',
    },
  },
  {
    // With a word or a dot before it, it is another function: a socket has a setTimeout of its own.
    what: /(?<![.\w])set(Timeout|Interval)\(/,
    instead: 'a Clock (src/device/clock.ts)',
    allowed: { 'src/device/clock.ts': 'its home' },
  },
  {
    what: /\bMath\.random\b|\brandomBytes\b|\brandomUUID\b|\bgetRandomValues\b|\brandomInt\b/,
    instead: 'a RandomSource (src/device/random.ts)',
    allowed: { 'src/device/random.ts': 'its home' },
  },
  { what: /\bconsole\./, instead: 'a log, or a stream that was given', allowed: {} },
  { what: /\b(FIXME|TODO|XXX)\b/, instead: 'the work itself', allowed: {} },
] as const;

const files = (folder: string): string[] =>
  readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => join(folder, name))
    .sort();

const read = (file: string): string => readFileSync(join(ROOT, file), 'utf8');

/** The lines of a file that match, with their numbers; comments may speak of anything. */
function matchesOf(file: string, what: RegExp): string[] {
  return read(file)
    .split('\n')
    .map((line, index) => ({ at: `${file}:${index + 1}`, text: line.trim() }))
    .filter(({ text }) => what.test(text) && (!/^(\*|\/\/|\/\*)/.test(text) || what.source.includes('FIXME')))
    .map(({ at, text }) => `${at}: ${text}`);
}

/** What a module imports or exports from, types included. */
function specifiersOf(file: string): string[] {
  const found = read(file).matchAll(
    /^(?:import|export)\b[^;]*?\bfrom '([^']+)'|^import '([^']+)'|\bimport\('([^']+)'\)/gms,
  );
  return [...found].map(([, from, bare, dynamic]) => from ?? bare ?? dynamic ?? '');
}

/** The modules of ours that a module imports, as paths from the root. */
const importsOf = (file: string): string[] =>
  specifiersOf(file)
    .filter((specifier) => specifier.startsWith('.'))
    .map((specifier) => join(dirname(file), specifier).replace(/\.js$/, '.ts'));

const folderOf = (file: string): string => relative('src', file).split('/')[0] ?? '';

/** The first way from a module back to itself, or null. */
function findCycle(graph: ReadonlyMap<string, readonly string[]>): string[] | null {
  const done = new Set<string>();
  const visit = (file: string, path: readonly string[]): string[] | null => {
    const at = path.indexOf(file);
    if (at >= 0) return [...path.slice(at), file];
    if (done.has(file)) return null;
    for (const next of graph.get(file) ?? []) {
      const cycle = visit(next, [...path, file]);
      if (cycle !== null) return cycle;
    }
    done.add(file);
    return null;
  };
  for (const file of graph.keys()) {
    const cycle = visit(file, []);
    if (cycle !== null) return cycle;
  }
  return null;
}

const SOURCES = files('src');

describe('imports', () => {
  test('this test sees them', () => {
    expect(SOURCES.length).toBeGreaterThan(50);
    expect(importsOf('src/cli/program.ts')).toContain('src/cli/commands/copy.ts');
    expect(importsOf('src/device/block-device.ts')).toEqual(['src/protocol/errno.ts']);
    expect(
      findCycle(
        new Map([
          ['a', ['b']],
          ['b', ['c']],
          ['c', ['b']],
        ]),
      ),
    ).toEqual(['b', 'c', 'b']);
  });

  test('point only where the table of folders allows', () => {
    const wrong = SOURCES.flatMap((file) => {
      const from = folderOf(file);
      const allowed = [from, ...(MAY_IMPORT[from] ?? [])];
      return importsOf(file)
        .filter((to) => !to.startsWith('src/') || !allowed.includes(folderOf(to)))
        .map((to) => `${file} imports ${to}`);
    });
    expect(wrong).toEqual([]);
  });

  test('come from folders that the table knows', () => {
    expect([...new Set(SOURCES.map(folderOf))].filter((folder) => MAY_IMPORT[folder] === undefined)).toEqual(
      [],
    );
  });

  test('form no cycle', () => {
    const graph = new Map(SOURCES.map((file) => [file, importsOf(file)]));
    expect(findCycle(graph)).toBeNull();
  });

  test('of packages are of Node or of what package.json installs for users', () => {
    const { dependencies, optionalDependencies } = JSON.parse(read('package.json')) as Record<
      string,
      Record<string, string> | undefined
    >;
    const installed = Object.keys({ ...dependencies, ...optionalDependencies });
    const unknown = SOURCES.flatMap((file) =>
      specifiersOf(file)
        .filter((name) => !name.startsWith('.') && !name.startsWith('node:') && !installed.includes(name))
        .map((name) => `${file} imports ${name}`),
    );
    expect(unknown).toEqual([]);
  });
});

describe('source files', () => {
  test.each(BANNED)('use $instead and nothing in its place', ({ what, allowed }) => {
    const files = SOURCES.filter((file) => !Object.hasOwn(allowed, file));
    expect(files.flatMap((file) => matchesOf(file, what))).toEqual([]);
  });

  test('that are allowed to use what is banned do use it', () => {
    const stale = BANNED.flatMap(({ what, allowed }) =>
      Object.keys(allowed).filter((file) => matchesOf(file, what).length === 0),
    );
    expect(stale).toEqual([]);
  });

  test('end the process only from the command line', () => {
    const others = SOURCES.filter((file) => folderOf(file) !== 'cli');
    const wrong = others.flatMap((file) => matchesOf(file, /\bprocess\.exit\b/));
    expect(wrong).toEqual([]);
  });

  test(`have at most ${LINES_MAX} lines`, () => {
    const long = SOURCES.map((file) => ({ file, lines: read(file).split('\n').length - 1 }));
    expect(long.filter(({ lines }) => lines > LINES_MAX)).toEqual([]);
  });
});
