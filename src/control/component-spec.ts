import { resolve } from 'node:path';
import { ProtocolError } from '../protocol/errors.js';
import { isGgateUri } from '../protocol/uri.js';

/** A component as the administrator gives it. */
export interface ComponentSpec {
  /** The path of an image or a disk, or a ggate URI. What the component is called everywhere. */
  readonly provider: string;
  /** The path of the file that holds its private area; null: that is on the provider. */
  readonly area: string | null;
  /** 0 to 255; null for what its label says. */
  readonly priority: number | null;
  /** It is dropped when it is silent for this long; null for the mirror's. */
  readonly timeoutMs: number | null;
}

const PRIORITY_MAX = 255;
const TIMEOUT_SECONDS_MAX = 1e7;

/** The last of them; names of files may have commas and even these words in them, so what is in front is left alone. */
const LAST_OPTION = /^(.*),(area|priority|timeout)=(.*)$/s;

/**
 * Reads `PROVIDER[,area=FILE][,priority=NUMBER][,timeout=SECONDS]`, in any order, each once. Throws ProtocolError
 * (PROTOCOL_FORMAT). Whether a URI is one is not looked at.
 */
export function parseComponent(text: string): ComponentSpec {
  const given: Record<string, string> = {};
  let provider = text;
  for (let found = LAST_OPTION.exec(text); found !== null; found = LAST_OPTION.exec(provider)) {
    const [, before = '', key = '', value = ''] = found;
    if (key in given) throw wrong(`'${text}' has ${key} twice`);
    given[key] = value;
    provider = before;
  }
  const { area = null } = given;
  if (provider === '' || area === '')
    throw wrong(`'${text}' is not of the form PROVIDER or PROVIDER,area=FILE`);
  if (area !== null && isGgateUri(provider)) {
    const message = `${provider} can't have an area file: that would stay here when the export is used elsewhere; make its image larger instead`;
    throw wrong(message);
  }
  return {
    provider,
    area,
    priority: priorityOf(text, given.priority),
    timeoutMs: timeoutOf(text, given.timeout),
  };
}

const wrong = (message: string): ProtocolError => new ProtocolError('PROTOCOL_FORMAT', message);

function priorityOf(text: string, value: string | undefined): number | null {
  if (value === undefined) return null;
  const priority = Number(value);
  if (/^\d+$/.test(value) && priority <= PRIORITY_MAX) return priority;
  throw wrong(`'${text}': expected a priority from 0 to ${PRIORITY_MAX}`);
}

function timeoutOf(text: string, value: string | undefined): number | null {
  if (value === undefined) return null;
  const seconds = Number(value);
  if (/^\d+(\.\d+)?$/.test(value) && seconds > 0 && seconds <= TIMEOUT_SECONDS_MAX) return seconds * 1000;
  throw wrong(`'${text}': expected a time-out in seconds greater than 0`);
}

/** What parseComponent() reads. */
export const formatComponent = ({ provider, area, priority, timeoutMs }: ComponentSpec): string =>
  [
    provider,
    ...(priority === null ? [] : [`priority=${priority}`]),
    ...(timeoutMs === null ? [] : [`timeout=${timeoutMs / 1000}`]),
    ...(area === null ? [] : [`area=${area}`]),
  ].join(',');

/** As a running mirror calls a component: a daemon has another working directory, so paths are absolute. */
export const providerName = (provider: string): string =>
  isGgateUri(provider) ? provider : resolve(provider);

/** A component of a running mirror, as a person may call it: by its UUID, or as it was given. */
export const componentName = (text: string): string =>
  /^[0-9a-f]{32}$/.test(text) ? text : providerName(text);

/** What parseComponent() reads, with absolute paths. Throws as that does. */
export function absoluteComponent(text: string): ComponentSpec {
  const spec = parseComponent(text);
  const { provider, area } = spec;
  return { ...spec, provider: providerName(provider), area: area === null ? null : resolve(area) };
}
