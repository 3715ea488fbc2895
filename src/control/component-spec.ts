import { resolve } from 'node:path';
import { ProtocolError } from '../protocol/errors.js';
import { isGgateUri } from '../protocol/uri.js';

/** A component as the administrator gives it. */
export interface ComponentSpec {
  /** The path of an image or a disk, or a ggate URI. What the component is called everywhere. */
  readonly provider: string;
  /** The path of the file that holds its private area; null: that is on the provider. */
  readonly area: string | null;
}

const AREA = ',area=';

/**
 * Reads `PROVIDER` or `PROVIDER,area=FILE`. A path may have commas; the last `,area=` counts. Throws ProtocolError
 * (PROTOCOL_FORMAT). Whether a URI is one is not looked at.
 */
export function parseComponent(text: string): ComponentSpec {
  const at = text.lastIndexOf(AREA);
  const provider = at === -1 ? text : text.slice(0, at);
  const area = at === -1 ? null : text.slice(at + AREA.length);
  if (provider === '' || area === '') {
    throw new ProtocolError(
      'PROTOCOL_FORMAT',
      `'${text}' is not of the form PROVIDER or PROVIDER${AREA}FILE`,
    );
  }
  if (area !== null && isGgateUri(provider)) {
    const message = `${provider} can't have an area file: that would stay here when the export is used elsewhere; make its image larger instead`;
    throw new ProtocolError('PROTOCOL_FORMAT', message);
  }
  return { provider, area };
}

/** What parseComponent() reads. */
export const formatComponent = ({ provider, area }: ComponentSpec): string =>
  area === null ? provider : `${provider}${AREA}${area}`;

/** As components are called: a daemon has another working directory, so paths are absolute. Throws as parseComponent. */
export function absoluteComponent(text: string): ComponentSpec {
  const { provider, area } = parseComponent(text);
  return {
    provider: isGgateUri(provider) ? provider : resolve(provider),
    area: area === null ? null : resolve(area),
  };
}
