import { readFileSync } from 'node:fs';
import { messageOf } from '../../protocol/errors.js';
import { CommandError } from '../errors.js';
import type { ComponentSpec } from '../../control/component-spec.js';
import { ALL_START_OPTIONS, decideOptions, type GivenOptions } from '../mirrors/start-options.js';
import { settingsOf } from '../mirrors/start-settings.js';
import { readComponent } from './component-keys.js';
import { TomlDocument, type TomlTable } from './toml-document.js';
import type { TomlPath } from './toml-lines.js';

/** A mirror as the configuration file describes it. */
export interface MirrorConfig {
  readonly name: string;
  readonly components: readonly ComponentSpec[];
  readonly options: GivenOptions;
}

/** FreeBSD keeps the configuration of what is no part of the system in a tree of its own. */
export const defaultConfigPath = (platform: string): string =>
  platform === 'freebsd' ? '/usr/local/etc/ggmirror.toml' : '/etc/ggmirror.toml';

/**
 * Reads all mirrors, in the file's order; docs/configuration.md says what may be in it. Throws CommandError with one
 * line, `FILE:LINE: key: what is wrong`, for the first thing that is.
 */
export function readConfig(path: string): MirrorConfig[] {
  return parseConfig(path, readText(path));
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    const isMissing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    throw new CommandError(isMissing ? `${path}: no such file` : messageOf(error), { cause: error });
  }
}

/** As readConfig(), of the text of a file. */
export function parseConfig(path: string, text: string): MirrorConfig[] {
  const document = new TomlDocument(path, text);
  const { mirror = {}, ...rest } = document.root;
  const forAll = readOptions(document, [], rest);
  const mirrors = Object.entries(document.table(['mirror'], mirror)).map(([name, value]) =>
    readMirror(document, name, value, forAll),
  );
  checkApart(document, mirrors);
  return mirrors;
}

/** What two mirrors can't both have. */
function checkApart(document: TomlDocument, mirrors: readonly MirrorConfig[]): void {
  const owners = new Map<string, string>();
  const take = (at: TomlPath, thing: string, name: string): void => {
    const owner = owners.get(thing);
    if (owner !== undefined) throw document.wrong(at, `mirror '${owner}' has ${thing} already`);
    owners.set(thing, name);
  };
  for (const { name, components, options } of mirrors) {
    const at = ['mirror', name];
    for (const [index, { provider }] of components.entries())
      take([...at, 'components', index], provider, name);
    const { nbdSocket, nbdPort, ggatePort } = options;
    if (nbdSocket !== undefined) take([...at, 'nbd-socket'], nbdSocket, name);
    for (const [key, port] of Object.entries({ 'nbd-port': nbdPort, 'ggate-port': ggatePort }))
      if (port !== undefined && port !== 0) take([...at, key], `port ${port}`, name);
  }
}

function readMirror(
  document: TomlDocument,
  name: string,
  value: unknown,
  forAll: GivenOptions,
): MirrorConfig {
  const at = ['mirror', name];
  const { components: list, ...rest } = document.table(at, value);
  const options = { ...forAll, ...readOptions(document, at, rest) };
  if (!Array.isArray(list) || list.length === 0) {
    const what = 'expected a list of components: paths, ggate URIs, or tables with one of them';
    throw document.wrong([...at, 'components'], what);
  }
  const components = list.map((one: unknown, index) =>
    readComponent(document, [...at, 'components', index], one),
  );
  // What the command line would be refused for.
  document.attempt(at, () => settingsOf(name, components, decideOptions(options)));
  return { name, components, options };
}

/** At the top of the file are those that hold for all mirrors, unless one says otherwise. */
function readOptions(document: TomlDocument, at: TomlPath, table: TomlTable): GivenOptions {
  const known = ALL_START_OPTIONS.filter(({ isForOne }) => at.length > 0 || isForOne !== true);
  const given = document.values(at, table, known, [at.length === 0 ? 'mirror' : 'components']);
  return Object.fromEntries(
    known.filter(({ key }) => given.has(key)).map(({ key, name }) => [name, given.get(key)]),
  );
}
