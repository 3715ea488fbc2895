import { readFile } from 'node:fs/promises';
import { createSecureContext, type TlsOptions } from 'node:tls';
import { ProtocolError, messageOf } from '../protocol/errors.js';

/** File names, as --tls-cert, --tls-key and --tls-ca give them. PEM. */
export interface TlsFiles {
  readonly certificate: string;
  readonly key: string;
  /** With an authority, only clients with a certificate of its making get in. */
  readonly authority: string | null;
  /** How their options begin, for messages; left out: '--tls-'. */
  readonly option?: string;
}

/**
 * Reads the files. Throws ProtocolError PROTOCOL_FORMAT with a message for the administrator if one can't be read or
 * isn't what it should be, or if the key isn't the certificate's.
 */
export async function loadTlsOptions(files: TlsFiles): Promise<TlsOptions> {
  const { option = '--tls-' } = files;
  const options: TlsOptions = {
    cert: await readPem(`${option}cert`, files.certificate),
    key: await readPem(`${option}key`, files.key),
    minVersion: 'TLSv1.2',
  };
  if (files.authority !== null) {
    options.ca = await readPem(`${option}ca`, files.authority);
    options.requestCert = true;
    options.rejectUnauthorized = true;
  }
  try {
    createSecureContext(options);
  } catch (cause) {
    const names = [files.certificate, files.key, files.authority].filter((name) => name !== null);
    throw unusable(`TLS can't use ${names.join(', ')}`, cause);
  }
  return options;
}

async function readPem(option: string, fileName: string): Promise<Buffer> {
  let bytes;
  try {
    bytes = await readFile(fileName);
  } catch (cause) {
    throw unusable(`${option} ${fileName} can't be read`, cause);
  }
  // OpenSSL takes an authority file without a certificate for an empty list, and no client would get in.
  if (!bytes.includes('-----BEGIN ')) {
    throw new ProtocolError('PROTOCOL_FORMAT', `${option} ${fileName} holds no PEM block`);
  }
  return bytes;
}

function unusable(what: string, cause: unknown): ProtocolError {
  const why = messageOf(cause);
  return new ProtocolError('PROTOCOL_FORMAT', `${what}: ${why}`, { cause });
}

/**
 * One entry of Node's text of the alternative names: kind and value, entries being separated by a comma and a blank. A
 * value that could be mistaken for several entries comes as a JSON string. Sticky, so that reading stops where this
 * isn't so, rather than starting again inside a string that somebody chose to mislead us.
 */
const ALTERNATIVE_NAME = /(?:^|, )([^:,"]+):("(?:[^"\\]|\\.)*"|[^,"]*)(?=, |$)/gy;

/** What names a certificate bears: all common names of its subject, then its DNS alternative names. */
export function certificateNames(certificate: {
  /** A subject may have several common names; then Node gives an array, which its types don't know. */
  readonly subject: { readonly CN?: string | string[] };
  readonly subjectaltname?: string | undefined;
}): string[] {
  const { CN: common = [] } = certificate.subject;
  const alternative = [...(certificate.subjectaltname ?? '').matchAll(ALTERNATIVE_NAME)]
    .filter(([, kind, value = '']) => kind === 'DNS' && !value.startsWith('"'))
    .map(([, , value = '']) => value);
  return [...new Set([common, alternative].flat())].filter((name) => name !== '');
}
