import { isIPv6 } from 'node:net';
import { ProtocolError } from './errors.js';
import { DEFAULT_PORT } from './handshake.js';

/** A remote export: `ggate://host[:port]/path`, or `ggates://` for TLS. The path is sent with its leading slash. */
export interface GgateUri {
  readonly host: string;
  readonly port: number;
  readonly path: string;
  readonly isTls: boolean;
}

export const isGgateUri = (text: string): boolean => /^ggates?:\/\//i.test(text);

/**
 * The path is taken byte for byte, as exports are compared: no percent-decoding, no normalisation. An IPv6 address
 * stands in brackets. Throws PROTOCOL_FORMAT.
 */
export function parseGgateUri(text: string): GgateUri {
  const match = /^(ggates?):\/\/(\[[^\]/]*\]|[^:/[\]]+)(?::([^/]*))?(\/.*)$/i.exec(text);
  const [, scheme, bracketed, portText, path] = match ?? [];
  if (scheme === undefined || bracketed === undefined || path === undefined) {
    throw new ProtocolError('PROTOCOL_FORMAT', `'${text}' is not of the form ggate://host[:port]/path`);
  }
  const host = bracketed.startsWith('[') ? bracketed.slice(1, -1) : bracketed;
  if (bracketed.startsWith('[') && !isIPv6(host)) {
    throw new ProtocolError('PROTOCOL_FORMAT', `'${host}' in '${text}' is not an IPv6 address`);
  }
  const port = portText === undefined ? DEFAULT_PORT : Number(portText);
  if (portText !== undefined && (!/^\d+$/.test(portText) || port < 1 || port > 65_535)) {
    throw new ProtocolError(
      'PROTOCOL_FORMAT',
      `'${portText}' in '${text}' is not a port; ports are 1 to 65535`,
    );
  }
  return { host, port, path, isTls: scheme.toLowerCase() === 'ggates' };
}

/** For people and logs; `parseGgateUri` reads it back. */
export function formatGgateUri(uri: GgateUri): string {
  const host = uri.host.includes(':') ? `[${uri.host}]` : uri.host;
  const port = uri.port === DEFAULT_PORT ? '' : `:${uri.port}`;
  return `${uri.isTls ? 'ggates' : 'ggate'}://${host}${port}${uri.path}`;
}
