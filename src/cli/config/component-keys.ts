import { isGgateUri, parseGgateUri } from '../../protocol/uri.js';
import { UsageError } from '../errors.js';
import { integerFrom, PATH, SECONDS } from '../mirrors/option-kinds.js';
import type { ComponentSpec } from '../../control/component-spec.js';
import type { KnownKey, TomlDocument } from './toml-document.js';
import type { TomlPath } from './toml-lines.js';

interface ComponentKey extends KnownKey {
  readonly use: (value: never) => Partial<ComponentSpec>;
}

/**
 * What the configuration file can say of a component beside `path` or `uri`. A new key is an entry here and a row in
 * docs/configuration.md, which a test asks for.
 */
export const COMPONENT_KEYS: readonly ComponentKey[] = [
  { key: 'area', kind: PATH, use: (area: string) => ({ area }) },
  { key: 'priority', kind: integerFrom(0, 255), use: (priority: number) => ({ priority }) },
  { key: 'timeout', kind: SECONDS, use: (seconds: number) => ({ timeoutMs: seconds * 1000 }) },
];

/** Throws CommandError with the place of what is wrong. */
export function readComponent(document: TomlDocument, at: TomlPath, value: unknown): ComponentSpec {
  if (typeof value === 'string') {
    return componentOf(document.attempt(at, () => providerOf(value, isGgateUri(value) ? 'uri' : 'path')));
  }
  const { path, uri, ...rest } = document.table(at, value);
  if ((path === undefined) === (uri === undefined)) {
    throw document.wrong(at, 'expected either a path or a uri');
  }
  const key = path === undefined ? 'uri' : 'path';
  const written = path ?? uri;
  if (typeof written !== 'string') throw document.wrong([...at, key], 'expected a string');
  const provider = document.attempt([...at, key], () => providerOf(written, key));
  const given = document.values(at, rest, COMPONENT_KEYS, ['path', 'uri']);
  const parts = COMPONENT_KEYS.filter((one) => given.has(one.key)).map((one) =>
    one.use(given.get(one.key) as never),
  );
  if (given.has('area') && key === 'uri')
    throw document.wrong([...at, 'area'], 'expected no area with a uri');
  return Object.assign(componentOf(provider), ...parts) as ComponentSpec;
}

const componentOf = (provider: string): ComponentSpec => ({
  provider,
  area: null,
  priority: null,
  timeoutMs: null,
});

/** In each there is only one kind: a path can't be where a URI should be. */
function providerOf(text: string, key: 'path' | 'uri'): string {
  if (key === 'path' && isGgateUri(text)) throw new UsageError(`'${text}' is a uri, not a path`);
  if (key === 'path') return PATH.parse(text, 'file');
  parseGgateUri(text);
  return text;
}
