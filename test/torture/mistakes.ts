import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type TypeScript from 'typescript';

/**
 * What programs can be made to do wrong, to show that the torture finds it, and on which hosts. The product knows nothing
 * of it: a module that is loaded before it changes its classes (planted.ts).
 */
export const MISTAKES = {
  'server-forgets-writes': 'backup',
  'server-tears-writes': 'backup',
  'server-misplaces-writes': 'backup',
  'server-reads-old-data': 'backup',
  'server-spoils-labels': 'backup',
  'mirror-skips-backup': 'primary',
  'mirror-answers-early': 'primary',
  'mirror-forgets-marks': 'primary',
  'mirror-reads-stale-components': 'primary',
  'resync-skips-regions': 'primary',
  'resync-goes-the-wrong-way': 'primary',
} as const;
export type Mistake = keyof typeof MISTAKES;

export const isMistake = (name: string): name is Mistake => Object.hasOwn(MISTAKES, name);

/** This file may run from where the compiler has put it. */
export function packageRoot(): string {
  let folder = import.meta.dirname;
  while (!existsSync(join(folder, 'package.json'))) folder = dirname(folder);
  return folder;
}

/** Writes the module to `folder`; gives what Node.js has to be started with to do this wrong. */
export function optionsFor(mistake: Mistake, folder: string): string {
  const root = packageRoot();
  const path = join(folder, `${mistake}.mjs`);
  // Large, and hardly ever needed.
  const ts = createRequire(import.meta.url)('typescript') as typeof TypeScript;
  const source = readFileSync(join(root, 'test/torture/planted.ts'), 'utf8');
  const { outputText } = ts.transpileModule(source, {
    compilerOptions: { module: ts.ModuleKind.ES2022, target: ts.ScriptTarget.ES2022 },
  });
  const own = pathToFileURL(join(root, 'dist')).href;
  writeFileSync(path, `${outputText.replaceAll("'../../src/", `'${own}/`)}\nplant('${mistake}');\n`);
  return `--import=${pathToFileURL(path).href}`;
}
